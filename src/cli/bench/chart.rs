//! Lines over time, as SVG that stands by itself.

use std::fmt::Write;

/// A chart with one line for each series.
#[derive(Debug)]
pub(super) struct Chart<'a> {
    pub(super) title: &'a str,
    /// What stands below and beside the axes.
    pub(super) across: &'a str,
    pub(super) up: fn(f64) -> String,
    /// Whether equal distances upwards are equal factors.
    pub(super) logarithmic: bool,
    /// Where lines stand across; as many as each series has values.
    pub(super) at: Vec<f64>,
    pub(super) series: Vec<Series<'a>>,
}

#[derive(Debug)]
pub(super) struct Series<'a> {
    pub(super) name: &'a str,
    pub(super) values: Vec<Option<f64>>,
}

/// In units of which a telephone shows three quarters of a pixel each: letters of 13 can be read there.
const WIDTH: f64 = 480.0;
const HEIGHT: f64 = 220.0;
const LEFT: f64 = 66.0;
const RIGHT: f64 = 12.0;
const TOP: f64 = 12.0;
const BOTTOM: f64 = 38.0;

/// Lines across, about.
const TICKS: f64 = 5.0;

/// Where an axis ends on which all is zero.
const NOTHING: f64 = f64::MIN_POSITIVE;

impl Chart<'_> {
    /// A `figure` of HTML; colours are the page's classes `c0`, `c1` and so on.
    pub(super) fn html(&self) -> String {
        let mut out = String::new();
        // Infallible, as all below: the writer is a String.
        let _ = write!(out, "<figure><figcaption>{}<span class=\"key\">", escape(self.title));
        for (nth, series) in self.series.iter().enumerate() {
            let _ = write!(out, "<span class=\"c{nth}\">{}</span>", escape(series.name));
        }
        out += "</span></figcaption>";
        let values = || self.series.iter().flat_map(|series| series.values.iter().flatten().copied());
        let values = || values().filter(|value| !self.logarithmic || *value > 0.0);
        let Some(high) = values().reduce(f64::max) else {
            out += "<p class=\"none\">nothing was measured</p></figure>";
            return out;
        };
        let low = if self.logarithmic { values().reduce(f64::min).unwrap_or(high) } else { 0.0 };
        let scale = Scale::new(low, high, self.logarithmic);
        let end = self.at.last().copied().unwrap_or(1.0).max(f64::MIN_POSITIVE);
        let x = |at: f64| LEFT + (WIDTH - LEFT - RIGHT) * at / end;
        let y = |value: f64| HEIGHT - BOTTOM - (HEIGHT - TOP - BOTTOM) * scale.place(value);
        let _ =
            write!(out, "<svg viewBox=\"0 0 {WIDTH} {HEIGHT}\" role=\"img\" aria-label=\"{}\">", escape(self.title));
        for tick in scale.ticks() {
            let y = y(tick);
            let _ = write!(
                out,
                "<path class=\"grid\" d=\"M{LEFT} {y:.1}H{:.1}\"/><text class=\"up\" x=\"{:.1}\" y=\"{:.1}\">{}</text>",
                WIDTH - RIGHT,
                LEFT - 8.0,
                y + 4.0,
                escape(&without_zeros(&(self.up)(tick)))
            );
        }
        for tick in steps(0.0, end) {
            let _ = write!(
                out,
                "<text class=\"across\" x=\"{:.1}\" y=\"{:.1}\">{}</text>",
                x(tick),
                HEIGHT - BOTTOM + 16.0,
                plain(tick)
            );
        }
        let _ = write!(
            out,
            "<text class=\"across\" x=\"{:.1}\" y=\"{:.1}\">{}</text>",
            (LEFT + WIDTH - RIGHT) / 2.0,
            HEIGHT - 4.0,
            escape(self.across)
        );
        for (nth, series) in self.series.iter().enumerate() {
            let mut path = String::new();
            let mut points = String::new();
            let mut pen_up = true;
            for (at, value) in self.at.iter().zip(&series.values) {
                let Some(value) = value.filter(|value| !self.logarithmic || *value > 0.0) else {
                    pen_up = true;
                    continue;
                };
                let (x, y) = (x(*at), y(value));
                let _ = write!(path, "{}{x:.1} {y:.1}", if pen_up { 'M' } else { 'L' });
                let _ = write!(
                    points,
                    "<circle cx=\"{x:.1}\" cy=\"{y:.1}\" r=\"5\"><title>{} {}: {}</title></circle>",
                    plain(*at),
                    escape(series.name),
                    escape(&(self.up)(value))
                );
                pen_up = false;
            }
            let _ = write!(out, "<g class=\"c{nth}\"><path class=\"line\" d=\"{path}\"/>{points}</g>");
        }
        out += "</svg></figure>";
        out
    }
}

struct Scale {
    low: f64,
    high: f64,
    logarithmic: bool,
}

impl Scale {
    fn new(low: f64, high: f64, logarithmic: bool) -> Scale {
        if logarithmic {
            // Whole powers of ten, at least one.
            let (from, to) = (low.log10().floor(), high.log10().ceil());
            return Scale { low: from, high: to.max(from + 1.0), logarithmic };
        }
        // A line at the bottom, if nothing is more than nothing.
        let high = if high > 0.0 { high * 1.05 } else { NOTHING };
        Scale { low, high, logarithmic }
    }

    /// How far up a value stands, 0 to 1.
    fn place(&self, value: f64) -> f64 {
        let value = if self.logarithmic { value.log10() } else { value };
        (value - self.low) / (self.high - self.low)
    }

    fn ticks(&self) -> Vec<f64> {
        if self.logarithmic {
            let (low, high) = (self.low as i32, self.high as i32);
            return (low..=high).map(|power| 10_f64.powi(power)).collect();
        }
        if self.high <= NOTHING {
            return vec![0.0];
        }
        steps(self.low, self.high)
    }
}

/// Round numbers between the two, a handful.
fn steps(from: f64, to: f64) -> Vec<f64> {
    let span = to - from;
    if span <= 0.0 || !span.is_finite() {
        return vec![from];
    }
    let rough = span / TICKS;
    let power = 10_f64.powf(rough.log10().floor());
    let step = [1.0, 2.0, 5.0, 10.0].map(|factor| factor * power).into_iter().find(|step| *step >= rough);
    let step = step.unwrap_or(10.0 * power);
    let count = (span / step * (1.0 + 1e-9)) as usize;
    (0..=count).map(|nth| from + nth as f64 * step).collect()
}

/// A figure with its unit, without zeros behind its point: `1 ms` for `1.00 ms`.
fn without_zeros(text: &str) -> String {
    let end = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
    let (number, unit) = text.split_at(end);
    match number.contains('.') {
        true => number.trim_end_matches('0').trim_end_matches('.').to_owned() + unit,
        false => text.to_owned(),
    }
}

/// A number without zeros behind its point.
fn plain(value: f64) -> String {
    let text = format!("{value:.2}");
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

/// Text as HTML and SVG take it.
pub(super) fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

#[cfg(test)]
mod tests {
    use super::{Chart, LEFT, Scale, Series, escape, plain, steps, without_zeros};

    #[test]
    fn axes_have_round_numbers() {
        let shown = |from, to| steps(from, to).into_iter().map(plain).collect::<Vec<_>>().join(" ");
        assert_eq!(shown(0.0, 10.0), "0 2 4 6 8 10");
        assert_eq!(shown(0.0, 1.2), "0 0.5 1");
        assert_eq!(shown(0.0, 0.0), "0");
        let powers = Scale::new(0.000_3, 0.2, true).ticks();
        assert_eq!(powers.len(), 5);
        assert!((powers[0] - 1e-4).abs() < 1e-12 && (powers[4] - 1.0).abs() < 1e-9);
        assert_eq!(Scale::new(0.0, 0.0, false).ticks(), [0.0]);
        for (text, shown) in [("1.00 ms", "1 ms"), ("2.50k/s", "2.5k/s"), ("100 µs", "100 µs"), ("0 B", "0 B")] {
            assert_eq!(without_zeros(text), shown);
        }
        assert!((Scale::new(1.0, 100.0, true).place(10.0) - 0.5).abs() < 1e-9);
    }

    #[test]
    fn a_line_breaks_where_nothing_was_measured() {
        let chart = |values: Vec<Option<f64>>| Chart {
            title: "a <b>",
            across: "seconds",
            up: |value| format!("{value}"),
            logarithmic: false,
            at: vec![1.0, 2.0, 3.0, 4.0],
            series: vec![Series { name: "one", values }],
        };
        let html = chart(vec![Some(1.0), None, Some(3.0), Some(4.0)]).html();
        assert!(html.contains("a &lt;b&gt;"));
        assert_eq!(html.matches('M').count() - html.matches(&format!("M{LEFT}")).count(), 2, "{html}");
        assert_eq!(html.matches("<circle").count(), 3);
        assert!(chart(vec![None; 4]).html().contains("nothing was measured"));
    }

    #[test]
    fn markup_in_what_a_server_said_is_text() {
        assert_eq!(escape("<script>&\""), "&lt;script&gt;&amp;&quot;");
    }
}
