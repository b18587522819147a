//! Text tables: the first column to the left, figures to the right.

/// Lays out `rows`, the first of which are the headings, with two spaces between columns.
pub(super) fn render(rows: &[Vec<String>]) -> String {
    let widths = widths(rows);
    let lines = rows.iter().map(|row| {
        let cells = row.iter().zip(&widths).enumerate().map(|(column, (cell, &width))| {
            if column == 0 { format!("{cell:<width$}") } else { format!("{cell:>width$}") }
        });
        cells.collect::<Vec<_>>().join("  ").trim_end().to_owned() + "\n"
    });
    lines.collect()
}

/// Three significant digits, or all those before the point.
pub(super) fn figure(value: f64) -> String {
    let decimals = match value.abs() {
        100.0.. => 0,
        10.0.. => 1,
        _ => 2,
    };
    format!("{value:.decimals$}")
}

fn widths(rows: &[Vec<String>]) -> Vec<usize> {
    let columns = rows.iter().map(Vec::len).max().unwrap_or(0);
    let width = |column: usize| {
        rows.iter().filter_map(|row| row.get(column)).map(|cell| cell.chars().count()).max()
    };
    (0..columns).map(|column| width(column).unwrap_or(0)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_aligned() {
        let rows = [["subject", "cpu"], ["go", "10.60"], ["staunch", "7.4"]];
        let rows = rows.map(|row| row.map(str::to_owned).to_vec());
        assert_eq!(render(&rows), "subject    cpu\ngo       10.60\nstaunch    7.4\n");
    }

    #[test]
    fn a_table_may_be_empty_or_ragged() {
        assert_eq!(render(&[]), "");
        let rows = [vec!["a".to_owned()], vec!["b".to_owned(), "1".to_owned()]];
        assert_eq!(render(&rows), "a\nb  1\n");
    }

    #[test]
    fn figures_have_three_digits() {
        let cases = [(0.0, "0.00"), (7.404, "7.40"), (27.35, "27.4"), (-12.0, "-12.0")];
        for (value, expected) in cases {
            assert_eq!(figure(value), expected);
        }
        assert_eq!(figure(118_012.3), "118012");
    }
}
