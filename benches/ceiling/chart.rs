//! The ratios as a picture: a bar for each operation, a stroke where its target is, pale where nobody can tell.

use std::fmt::Write as _;

use super::report::{Line, Target, Verdict};

const ROW: usize = 26;
const LABELS: usize = 290;
/// Pixels for a ratio of one.
const ONE: f64 = 300.0;
/// Beyond this a bar is cut off, and its number says how far it goes.
const LONGEST: f64 = 1.5;

/// The SVG of all lines that are ratios.
pub(crate) fn svg(lines: &[Line]) -> String {
    let ratios: Vec<&Line> = lines.iter().filter(|line| line.unit == "x").collect();
    let height = ROW * (ratios.len() + 2);
    let width = LABELS as f64 + LONGEST * ONE + 90.0;
    let one = LABELS as f64 + ONE;
    let mut svg = format!(
        r##"<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}" font-family="sans-serif" font-size="13">
<rect width="100%" height="100%" fill="#fff"/>
<text x="{one}" y="18" text-anchor="middle" fill="#555">the ceiling</text>
<line x1="{one}" y1="24" x2="{one}" y2="{bottom}" stroke="#999" stroke-dasharray="3 3"/>
"##,
        bottom = height - ROW / 2,
    );
    for (number, line) in ratios.iter().enumerate() {
        let top = ROW * (number + 1) + 4;
        let (text, middle) = (top + 14, LABELS - 8);
        let bar = line.figure.clamp(0.0, LONGEST) * ONE;
        let colour = match line.verdict() {
            Verdict::Holds => "#2a7f4f",
            Verdict::Misses | Verdict::Faulty => "#b3372f",
            Verdict::Noisy => "#b9b9b9",
        };
        let goal = match line.target {
            Target::AtLeast(goal) | Target::AtMost(goal) => LABELS as f64 + goal.min(LONGEST) * ONE,
        };
        // Writing into memory does not fail.
        let _ = write!(
            svg,
            r##"<text x="{middle}" y="{text}" text-anchor="end">{name}</text>
<rect x="{LABELS}" y="{top}" width="{bar:.1}" height="18" fill="{colour}"/>
<line x1="{goal:.1}" y1="{from}" x2="{goal:.1}" y2="{to}" stroke="#000" stroke-width="2"/>
<text x="{end:.1}" y="{text}">{figure:.2}</text>
"##,
            name = line.name,
            from = top - 2,
            to = top + 20,
            end = LABELS as f64 + bar.max(goal - LABELS as f64) + 8.0,
            figure = line.figure,
        );
    }
    svg.push_str("</svg>\n");
    svg
}
