//! A console and a service that keeps some tasks: `cargo run --example console`, then
//! `go tool pprof -top http://127.0.0.1:6060/debug/pprof/goroutine`.

use std::{error::Error, time::Duration};

use staunch::{BoxError, Context, scope, sleep};
use staunch_console::{
    Access, Console, ConsoleOptions, Phase, Readiness,
    log::{self, LogFormat},
};
use staunch_net::{Endpoint, Listener, SocketOptions};

#[cfg(feature = "jemalloc")]
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

fn main() -> Result<(), Box<dyn Error>> {
    let _log = log::init(LogFormat::Text, "debug")?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(serve())
}

async fn serve() -> Result<(), Box<dyn Error>> {
    let address = "127.0.0.1:6060".parse()?;
    let readiness = Readiness::default();
    let access = Access::new(address, None)?;
    let console = Console::new(ConsoleOptions { access, readiness: readiness.clone() });
    let endpoint = Endpoint::Tcp(address);
    let listener = Listener::bind(&endpoint, &SocketOptions::default(), Console::limits())?;
    let served = scope(&Context::background(), |s| async move {
        let context = s.context().clone();
        s.spawn_named("console", async move {
            let _ = listener.serve(&context, move |peer| console.clone().serve(peer)).await;
            Ok(())
        });
        for _ in 0..100 {
            s.spawn_named("sleeper", async { Ok(sleep(Duration::from_hours(1)).await?) });
        }
        readiness.advance(Phase::Ready);
        tracing::info!("the console is on http://{address}/ for an hour");
        sleep(Duration::from_hours(1)).await?;
        s.stop();
        Ok::<_, BoxError>(())
    });
    Ok(served.await?)
}
