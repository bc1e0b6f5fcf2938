//! Texts for people: tables, times and sizes.

use strongroom_engine::seam::Timestamp;

/// Rows under a head, each column as wide as its widest.
pub(crate) fn table(head: &[&str], rows: &[Vec<String>]) -> String {
    let head: Vec<String> = head.iter().map(|text| (*text).to_owned()).collect();
    let all = || std::iter::once(&head).chain(rows);
    let widths: Vec<usize> = (0..head.len())
        .map(|at| all().filter_map(|row| Some(row.get(at)?.chars().count())).max().unwrap_or(0))
        .collect();
    let mut text = String::new();
    for row in all() {
        let cells = row.iter().zip(&widths).map(|(cell, width)| format!("{cell:width$}"));
        text.push_str(cells.collect::<Vec<_>>().join("  ").trim_end());
        text.push('\n');
    }
    text
}

/// A time as RFC 3339 writes it.
pub(super) fn time(at: Timestamp) -> String {
    let millis = i64::try_from(at.0).unwrap_or(i64::MAX);
    jiff::Timestamp::from_millisecond(millis).unwrap_or(jiff::Timestamp::MAX).to_string()
}

/// A number of bytes, short.
#[expect(clippy::cast_precision_loss, reason = "it is rounded to a tenth anyhow")]
pub(crate) fn size(bytes: u64) -> String {
    const UNITS: [&str; 5] = ["KiB", "MiB", "GiB", "TiB", "PiB"];
    let mut value = bytes as f64;
    let mut shown = None;
    for unit in UNITS {
        if value < 1024.0 {
            break;
        }
        value /= 1024.0;
        shown = Some(unit);
    }
    match shown {
        Some(unit) => format!("{value:.1} {unit}"),
        None => format!("{bytes} B"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_as_wide_as_their_widest() {
        let rows = [vec!["ann".to_owned(), "yes".to_owned()], vec!["b".to_owned(), String::new()]];
        assert_eq!(table(&["NAME", "IN"], &rows), "NAME  IN\nann   yes\nb\n");
    }

    #[test]
    fn times_and_sizes_are_as_people_read_them() {
        assert_eq!(time(Timestamp(1_500)), "1970-01-01T00:00:01.5Z");
        assert_eq!((size(0), size(1023)), ("0 B".to_owned(), "1023 B".to_owned()));
        assert_eq!((size(1536), size(5 << 40)), ("1.5 KiB".to_owned(), "5.0 TiB".to_owned()));
    }
}
