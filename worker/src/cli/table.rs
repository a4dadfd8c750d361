//! Tables for people: columns as wide as what they hold.

use unicode_width::UnicodeWidthStr;

/// Rows under headings; the last column is never padded.
pub(super) fn table(headings: &[&str], rows: &[Vec<String>]) -> String {
    let mut widths: Vec<usize> = headings.iter().map(|h| h.width()).collect();
    for row in rows {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = (*width).max(cell.width());
        }
    }
    let mut out = String::new();
    let headings: Vec<String> = headings.iter().map(|h| h.to_uppercase()).collect();
    for row in std::iter::once(&headings).chain(rows) {
        let mut line = String::new();
        for (cell, width) in row.iter().zip(&widths) {
            line.push_str(cell);
            line.push_str(&" ".repeat(width + 2 - cell.width().min(*width)));
        }
        out.push_str(line.trim_end());
        out.push('\n');
    }
    out
}

#[cfg(test)]
mod tests {
    #[test]
    fn columns_are_as_wide_as_what_they_hold() {
        let rows = vec![vec!["1".to_owned(), "名".to_owned(), "x".to_owned()], vec!["10".into(), "a".into(), "".into()]];
        assert_eq!(super::table(&["id", "n", "what"], &rows), "ID  N   WHAT\n1   名  x\n10  a\n");
    }
}
