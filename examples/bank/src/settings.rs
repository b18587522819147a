//! What the environment says about how to run.

use std::{env, net::SocketAddr, path::PathBuf};

use tokio_postgres::Config;

use crate::{api::ApiLimits, bank::BankLimits};

/// How to run a bank.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Where to listen. `BANK_ADDRESS`; default 127.0.0.1:8080.
    pub address: SocketAddr,
    /// Where the admin endpoint listens, if anywhere. `BANK_ADMIN`.
    pub admin: Option<SocketAddr>,
    /// Where the accounts are. `DATABASE_URL`, or else `BANK_FILE`.
    pub database: Database,
    /// What is logged. `BANK_LOG`; default `info`.
    pub log: String,
    /// What the bank may hold.
    pub bank: BankLimits,
    /// What requests may cost.
    pub api: ApiLimits,
}

/// Where the accounts are.
#[derive(Clone, Debug)]
pub enum Database {
    /// On a PostgreSQL server.
    Postgres(Box<Config>),
    /// In a SQLite file. Default: `staunch-bank.sqlite` in the folder for temporary files.
    Sqlite(PathBuf),
}

/// The environment says something that makes no sense.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SettingsError {
    /// No address.
    #[error("{name}={value}: this is no address; write one as 127.0.0.1:8080")]
    Address {
        /// Which variable.
        name: &'static str,
        /// What it says.
        value: String,
    },
    /// No database.
    #[error("DATABASE_URL: write postgres://USER@HOST/DATABASE, or unset it to use a file: {0}")]
    Database(tokio_postgres::Error),
}

impl Settings {
    /// The defaults, with accounts in `database`.
    pub fn new(address: SocketAddr, database: Database) -> Settings {
        Settings {
            address,
            admin: None,
            database,
            log: "info".to_owned(),
            bank: BankLimits::default(),
            api: ApiLimits::default(),
        }
    }

    /// What the environment says.
    ///
    /// # Errors
    /// [`SettingsError`]
    pub fn from_env() -> Result<Settings, SettingsError> {
        let address = address("BANK_ADDRESS")?.unwrap_or(([127, 0, 0, 1], 8080).into());
        let mut settings = Settings::new(address, database()?);
        settings.admin = self::address("BANK_ADMIN")?;
        if let Ok(log) = env::var("BANK_LOG") {
            settings.log = log;
        }
        Ok(settings)
    }
}

fn address(name: &'static str) -> Result<Option<SocketAddr>, SettingsError> {
    let Ok(value) = env::var(name) else { return Ok(None) };
    match value.parse() {
        Ok(address) => Ok(Some(address)),
        Err(_) => Err(SettingsError::Address { name, value }),
    }
}

fn database() -> Result<Database, SettingsError> {
    if let Ok(url) = env::var("DATABASE_URL") {
        let config = url.parse().map_err(SettingsError::Database)?;
        return Ok(Database::Postgres(Box::new(config)));
    }
    let file = env::var_os("BANK_FILE").map(PathBuf::from);
    Ok(Database::Sqlite(file.unwrap_or_else(|| env::temp_dir().join("staunch-bank.sqlite"))))
}
