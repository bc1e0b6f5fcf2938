//! A header block: ustar, or GNU's dialect where both mean the same.

/// What a header says that its entry is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Type {
    File,
    Folder,
    Symbolic,
    Hard,
    Pax,
    GlobalPax,
    LongName,
    LongLink,
    Other(&'static str),
}

/// A header, with names as it has them.
#[derive(Debug)]
pub(super) struct Header {
    pub(super) name: String,
    pub(super) link: String,
    pub(super) size: u64,
    pub(super) kind: Type,
}

impl Header {
    pub(super) fn parse(block: &[u8; 512]) -> Result<Self, &'static str> {
        let field = |at: usize, length: usize| block.get(at..at + length).unwrap_or_default();
        // The checksum counts itself as spaces.
        let sum: u64 = block.iter().map(|byte| u64::from(*byte)).sum();
        let own: u64 = field(148, 8).iter().map(|byte| u64::from(*byte)).sum();
        let wanted = octal(field(148, 8)).ok_or("has a checksum that is no octal number")?;
        if wanted != sum - own + 8 * u64::from(b' ') {
            return Err("has another checksum than its bytes");
        }
        for (at, length) in [(100, 8), (108, 8), (116, 8), (136, 12), (329, 8), (337, 8)] {
            if !is_number(field(at, length)) {
                return Err("has a number that is neither octal nor binary");
            }
        }
        let size = octal(field(124, 12)).ok_or("has a size that is no octal number")?;
        let gnu = match field(257, 8) {
            b"ustar\x0000" => false,
            b"ustar  \0" => true,
            _ => return Err("is neither of the ustar format nor of GNU's"),
        };
        let name = text(field(0, 100))?;
        let prefix = match field(345, 155) {
            // GNU's dialect has times there, which other readers take for the begin of the name.
            prefix if gnu && prefix.iter().any(|byte| *byte != 0) => {
                return Err("has GNU fields where ustar has the begin of the name");
            }
            prefix => text(prefix)?,
        };
        let name = if prefix.is_empty() { name } else { format!("{prefix}/{name}") };
        let [kind] = *field(156, 1) else { return Err("has no type") };
        Ok(Self { name, link: text(field(157, 100))?, size, kind: kind_of(kind)? })
    }
}

fn kind_of(kind: u8) -> Result<Type, &'static str> {
    Ok(match kind {
        b'0' | 0 => Type::File,
        b'5' => Type::Folder,
        b'2' => Type::Symbolic,
        b'1' => Type::Hard,
        b'x' => Type::Pax,
        b'g' => Type::GlobalPax,
        b'L' => Type::LongName,
        b'K' => Type::LongLink,
        b'3' | b'4' => Type::Other("a device"),
        b'6' => Type::Other("a named pipe"),
        b'S' => Type::Other("a sparse file"),
        _ => return Err("has a type that not every unpacker knows"),
    })
}

/// Text up to the first zero byte; behind it there are zeros alone.
fn text(field: &[u8]) -> Result<String, &'static str> {
    let end = field.iter().position(|byte| *byte == 0).unwrap_or(field.len());
    let (text, rest) = field.split_at(end);
    if rest.iter().any(|byte| *byte != 0) {
        return Err("has bytes behind the end of a name");
    }
    Ok(std::str::from_utf8(text).map_err(|_| "has a name that is not UTF-8")?.to_owned())
}

/// Octal digits, with zeros or spaces behind and spaces before: every reader takes these.
fn octal(field: &[u8]) -> Option<u64> {
    let end = field.iter().rposition(|byte| !matches!(byte, 0 | b' ')).map_or(0, |last| last + 1);
    let digits = field.get(..end)?.trim_ascii_start();
    digits.iter().try_fold(0_u64, |number, digit| match digit {
        b'0'..=b'7' => number.checked_mul(8)?.checked_add(u64::from(digit - b'0')),
        _ => None,
    })
}

/// Owners, times and modes are of no use here, but a reader must be able to read them.
fn is_number(field: &[u8]) -> bool {
    matches!(field.first(), Some(0x80 | 0xFF)) || octal(field).is_some()
}
