//! Judges the files named on the command line, as an upload would.
//!
//!     cargo run -p strongroom-python --example inspect -- dist/*

#![allow(clippy::print_stdout, reason = "a program for a terminal")]

use std::fs::File;
use std::path::Path;
use std::process::ExitCode;

use strongroom_python::{FileName, Limits, inspect};

fn main() -> ExitCode {
    let mut refused = 0;
    let mut all = 0;
    for path in std::env::args().skip(1) {
        all += 1;
        match judge(Path::new(&path)) {
            Ok(told) => println!("ok       {path}: {told}"),
            Err(reason) => {
                refused += 1;
                println!("refused  {path}: {reason}");
            }
        }
    }
    println!("{all} files, {refused} refused");
    if refused == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn judge(path: &Path) -> Result<String, Box<dyn std::error::Error>> {
    let name = path.file_name().and_then(|name| name.to_str()).ok_or("no file name")?;
    let name = FileName::parse(name)?;
    let found = inspect(&name, File::open(path)?, &Limits::default())?;
    let (metadata, entries) = (found.metadata, found.entries);
    Ok(format!("{} {}, {entries} entries", metadata.name, metadata.version))
}
