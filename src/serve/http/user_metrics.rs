//! Merges the metrics of several workers' user code into one page.
//!
//! Counters, histograms and summaries are added up. Of gauges nobody knows whether a sum means anything, so each
//! worker keeps its own under the label `pid`, as upstream's default does.

use std::collections::BTreeMap;
use std::fmt::Write;

/// Merges the pages of workers, given with their process numbers or other names.
pub fn merge(pages: &[(String, String)]) -> String {
    let mut families: Vec<Family> = Vec::new();
    let mut places: BTreeMap<String, usize> = BTreeMap::new();
    for (worker, page) in pages {
        let mut current = None;
        for line in page.lines() {
            match Line::parse(line) {
                Line::Comment { word, name, rest } => {
                    let place = *places.entry(name.to_owned()).or_insert_with(|| {
                        families.push(Family::new(name));
                        families.len() - 1
                    });
                    families[place].describe(word, rest);
                    current = Some(place);
                }
                Line::Sample { series, value } => {
                    let name = series.split('{').next().unwrap_or_default();
                    let place = current.filter(|place| families[*place].owns(name)).unwrap_or_else(|| {
                        *places.entry(name.to_owned()).or_insert_with(|| {
                            families.push(Family::new(name));
                            families.len() - 1
                        })
                    });
                    families[place].add(series, value, worker);
                }
                Line::Other => {}
            }
        }
    }
    let mut page = String::new();
    for family in &families {
        family.render(&mut page);
    }
    page
}

struct Family {
    name: String,
    help: Option<String>,
    kind: Option<String>,
    order: Vec<String>,
    values: BTreeMap<String, f64>,
}

enum Line<'a> {
    Comment { word: &'a str, name: &'a str, rest: &'a str },
    Sample { series: &'a str, value: f64 },
    Other,
}

impl<'a> Line<'a> {
    fn parse(line: &'a str) -> Self {
        if let Some(comment) = line.strip_prefix("# ") {
            let mut words = comment.splitn(3, ' ');
            return match (words.next(), words.next()) {
                (Some(word @ ("HELP" | "TYPE")), Some(name)) => {
                    Line::Comment { word, name, rest: words.next().unwrap_or_default() }
                }
                _ => Line::Other,
            };
        }
        let end = match line.rfind('}') {
            Some(brace) => brace + 1,
            None => line.find(' ').unwrap_or(0),
        };
        let (series, rest) = line.split_at(end);
        let value = rest.split_whitespace().next().and_then(parse_value);
        match value {
            Some(value) if !series.is_empty() => Line::Sample { series, value },
            _ => Line::Other,
        }
    }
}

impl Family {
    fn new(name: &str) -> Self {
        let (order, values) = (Vec::new(), BTreeMap::new());
        Self { name: name.to_owned(), help: None, kind: None, order, values }
    }

    fn describe(&mut self, word: &str, rest: &str) {
        let place = if word == "HELP" { &mut self.help } else { &mut self.kind };
        place.get_or_insert_with(|| rest.to_owned());
    }

    fn owns(&self, name: &str) -> bool {
        let rest = name.strip_prefix(self.name.as_str());
        rest.is_some_and(|rest| ["", "_total", "_bucket", "_count", "_sum", "_created"].contains(&rest))
    }

    fn add(&mut self, series: &str, value: f64, worker: &str) {
        let is_summed = matches!(self.kind.as_deref(), Some("counter" | "histogram" | "summary"));
        // A creation time is no amount either.
        let is_summed = is_summed && !series.split('{').next().is_some_and(|name| name.ends_with("_created"));
        // Quantiles cannot be added, but they stay apart like gauges.
        let is_summed = is_summed && !series.contains("quantile=");
        let series = if is_summed { series.to_owned() } else { label(series, worker) };
        if let Some(sum) = self.values.get_mut(&series) {
            *sum += value;
        } else {
            self.order.push(series.clone());
            self.values.insert(series, value);
        }
    }

    fn render(&self, page: &mut String) {
        // Writing to a string does not fail.
        if let Some(help) = &self.help {
            let _ = writeln!(page, "# HELP {} {help}", self.name);
        }
        if let Some(kind) = &self.kind {
            let _ = writeln!(page, "# TYPE {} {kind}", self.name);
        }
        for series in &self.order {
            let value = self.values.get(series).copied().unwrap_or_default();
            let _ = match value {
                value if value == f64::INFINITY => writeln!(page, "{series} +Inf"),
                value if value == f64::NEG_INFINITY => writeln!(page, "{series} -Inf"),
                value => writeln!(page, "{series} {value:?}"),
            };
        }
    }
}

fn label(series: &str, worker: &str) -> String {
    match series.strip_suffix('}') {
        Some(open) if open.ends_with('{') => format!("{open}pid=\"{worker}\"}}"),
        Some(open) => format!("{open},pid=\"{worker}\"}}"),
        None => format!("{series}{{pid=\"{worker}\"}}"),
    }
}

fn parse_value(text: &str) -> Option<f64> {
    match text {
        "+Inf" => Some(f64::INFINITY),
        "-Inf" => Some(f64::NEG_INFINITY),
        other => other.parse().ok(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn amounts_are_added_and_states_kept_apart() {
        let page = "# HELP hits Hits\n# TYPE hits_total counter\nhits_total{a=\"b c\"} 2.0\n\
                    # TYPE depth gauge\ndepth 1.5\ndepth{x=\"}\"} 2\n\
                    # TYPE t histogram\nt_bucket{le=\"+Inf\"} 3.0\nt_sum 0.5\ngarbage\n# EOF\n";
        let merged = merge(&[("1".to_owned(), page.to_owned()), ("2".to_owned(), page.to_owned())]);
        let expected = "# HELP hits Hits\n# TYPE hits_total counter\nhits_total{a=\"b c\"} 4.0\n\
                        # TYPE depth gauge\ndepth{pid=\"1\"} 1.5\ndepth{x=\"}\",pid=\"1\"} 2.0\n\
                        depth{pid=\"2\"} 1.5\ndepth{x=\"}\",pid=\"2\"} 2.0\n\
                        # TYPE t histogram\nt_bucket{le=\"+Inf\"} 6.0\nt_sum 1.0\n";
        assert_eq!(merged, expected);
    }
}
