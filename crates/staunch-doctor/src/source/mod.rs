//! Sources: a folder for each runtime or format that is understood.

pub mod go;
