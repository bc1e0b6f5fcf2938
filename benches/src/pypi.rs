//! The group `pypi`: the program `strongroom serve` as the tools of Python meet it, signed in, against
//! what the machine does and against other package indexes, in turn.

mod dist;
mod many;
mod page;
mod peers;
mod upload;

use crate::Part;

/// What pip asks a page for.
const AS_PIP: &str = "Accept: application/vnd.pypi.simple.v1+json, \
    application/vnd.pypi.simple.v1+html; q=0.1, text/html; q=0.01";
/// What it is asked for by whoever reads HTML alone.
const AS_HTML: &str = "Accept: text/html";

/// The versions of the project whose page is asked for, and the wheels of each.
const VERSIONS: usize = 100;
const WHEELS: usize = 5;

/// What the group measures, in this order.
pub const PARTS: &[Part] = &[("page", page::run), ("many", many::run), ("upload", upload::run)];
