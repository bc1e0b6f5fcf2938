//! How the program is linked: where the C library's loader knows them, its relocations are packed.
//!
//! A program of this size that may lie anywhere in memory has some 80,000 places to correct at each start.
//! As a list of 24 bytes each they are 2 MB that are read and then stay resident; packed they are 30 KB.

use std::env::{self, VarError};
use std::process::Command;

/// The first version of glibc whose loader takes them. Packed, a program does not start with an older one.
const KNOWS_PACKED: (u32, u32) = (2, 36);

fn main() {
    println!("cargo:rerun-if-changed=build.rs");
    // What is built for another machine runs with a library that is unknown here.
    if is_for_here().unwrap_or(false) && glibc().is_some_and(|version| version >= KNOWS_PACKED) {
        println!("cargo:rustc-link-arg-bins=-Wl,-z,pack-relative-relocs");
    }
}

fn is_for_here() -> Result<bool, VarError> {
    Ok(env::var("HOST")? == env::var("TARGET")? && env::var("CARGO_CFG_TARGET_ENV")? == "gnu")
}

/// The version of this machine's C library, where it is glibc: `getconf` says `glibc 2.36`.
fn glibc() -> Option<(u32, u32)> {
    let told = Command::new("getconf").arg("GNU_LIBC_VERSION").output().ok()?;
    let told = String::from_utf8(told.stdout).ok()?;
    let (major, minor) = told.trim().strip_prefix("glibc ")?.split_once('.')?;
    Some((major.parse().ok()?, minor.split('.').next()?.parse().ok()?))
}
