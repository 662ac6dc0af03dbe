//! Bar charts of the report, as SVG.

use plotters::prelude::*;

use crate::Failure;
use crate::results::{Row, shown};

const SIZE: (u32, u32) = (760, 320);
const COLORS: [RGBColor; 4] = [
    RGBColor(31, 119, 180),
    RGBColor(255, 127, 14),
    RGBColor(127, 127, 127),
    RGBColor(44, 160, 44),
];
/// Tenths of the highest bar: the names of the subjects are above the bars.
const HEADROOM: i64 = 14;
const FONT: &str = "sans-serif";

/// Medians of these rows, a group of bars for each row and a bar for each subject.
pub(crate) fn bars(title: &str, unit: &str, rows: &[&Row]) -> Result<String, Failure> {
    let mut svg = String::new();
    draw(&mut svg, title, unit, rows).map_err(|e| Failure(format!("cannot draw {title:?}: {e}")))?;
    Ok(svg)
}

fn draw(svg: &mut String, title: &str, unit: &str, rows: &[&Row]) -> Result<(), Box<dyn std::error::Error>> {
    let area = SVGBackend::with_string(svg, SIZE).into_drawing_area();
    area.fill(&WHITE)?;
    let subjects = rows.iter().map(|row| row.sides.len()).max().unwrap_or_default();
    // A gap follows each group.
    let step = i32::try_from(subjects + 1)?;
    let width = i32::try_from(rows.len())?.saturating_mul(step);
    let highest = rows
        .iter()
        .flat_map(|row| &row.sides)
        .map(|side| side.median())
        .max();
    let highest = i64::try_from(highest.unwrap_or_default().max(100))?;
    let mut chart = ChartBuilder::on(&area)
        .caption(title, (FONT, 17))
        .margin(10)
        .x_label_area_size(30)
        .y_label_area_size(70)
        .build_cartesian_2d(0..width, 0..highest.saturating_mul(HEADROOM) / 10)?;
    let name_of = |x: &i32| {
        let at = usize::try_from(x / step).unwrap_or(usize::MAX);
        let is_middle = x % step == step / 2;
        let row = rows.get(at).filter(|_| is_middle);
        row.map(|row| row.quantity.name.clone()).unwrap_or_default()
    };
    chart
        .configure_mesh()
        .disable_x_mesh()
        .light_line_style(WHITE)
        .x_labels(usize::try_from(width)?.saturating_add(1))
        .x_label_formatter(&name_of)
        .y_labels(6)
        .y_label_formatter(&|y| shown(u64::try_from(*y).unwrap_or_default()))
        .y_desc(unit)
        .label_style((FONT, 13))
        .draw()?;
    for subject in 0..subjects {
        let color = COLORS.get(subject % COLORS.len()).copied().unwrap_or(BLACK);
        let mut bars = Vec::new();
        for (at, row) in rows.iter().enumerate() {
            let Some(side) = row.sides.get(subject) else {
                continue;
            };
            let left = i32::try_from(at)?
                .saturating_mul(step)
                .saturating_add(i32::try_from(subject)?);
            let top = i64::try_from(side.median())?;
            bars.push(Rectangle::new([(left, 0), (left + 1, top)], color.filled()));
        }
        let name = rows.iter().find_map(|row| row.sides.get(subject));
        let name = name.map(|side| side.subject.clone()).unwrap_or_default();
        chart
            .draw_series(bars)?
            .label(name)
            .legend(move |(x, y)| Rectangle::new([(x, y - 5), (x + 12, y + 5)], color.filled()));
    }
    chart
        .configure_series_labels()
        .label_font((FONT, 13))
        .background_style(WHITE.mix(0.8))
        .border_style(BLACK.mix(0.3))
        .position(SeriesLabelPosition::UpperRight)
        .draw()?;
    area.present()?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::results::{Quantity, Results};

    #[test]
    fn a_chart_names_its_subjects_and_groups() {
        let mut results = Results::default();
        for name in ["1 connection", "16 connections"] {
            let quantity = Quantity::higher("Verify", name, "verifies/s");
            for subject in ["Switchyard", "x402-rs"] {
                results.add(&quantity, subject, 100_000);
            }
        }
        let rows: Vec<_> = results.rows.iter().collect();
        let svg = bars("Verify", "verifies/s", &rows).expect("drawn");
        for text in ["1 connection", "16 connections", "Switchyard", "x402-rs"] {
            assert!(svg.contains(text), "{text} in {svg}");
        }
    }
}
