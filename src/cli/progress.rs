//! Shows what an operation is doing: bars on a terminal, lines elsewhere.

use std::time::Duration;

use indicatif::{MultiProgress, ProgressBar, ProgressStyle};

use super::printer::Printer;
use crate::report::{Progress, Report};

/// How often a bar without known length turns.
const TICK: Duration = Duration::from_millis(120);
/// Work below this size is done before anybody could read its line.
const WORTH_A_LINE: u64 = 8 << 20;

/// The report of the command line.
pub(super) struct TerminalReport {
    printer: Printer,
    bars: Option<MultiProgress>,
}

impl TerminalReport {
    /// Draws on a terminal, prints lines elsewhere.
    pub(super) fn new(printer: Printer) -> Self {
        Self { printer, bars: printer.draws().then(MultiProgress::new) }
    }

    /// Prints without tearing the bars apart.
    fn print(&self, print: impl FnOnce()) {
        match &self.bars {
            Some(bars) => bars.suspend(print),
            None => print(),
        }
    }
}

impl Report for TerminalReport {
    fn stage(&self, message: &str) {
        self.print(|| self.printer.info(message));
    }

    fn task(&self, label: &str, total: Option<u64>) -> Box<dyn Progress> {
        let Some(bars) = &self.bars else {
            if total.is_none_or(|total| total >= WORTH_A_LINE) {
                let size = total.map(|total| format!(" ({})", human_size(total))).unwrap_or_default();
                self.printer.info(&format!("{label}{size}"));
            }
            return Box::new(crate::report::Silent);
        };
        let bar = match total {
            Some(total) => ProgressBar::new(total).with_style(style(
                "{msg:36!} {bar:30} {binary_bytes:>10} / {binary_total_bytes} {binary_bytes_per_sec}",
            )),
            None => ProgressBar::new_spinner().with_style(style("{msg:36!} {spinner} {binary_bytes}")),
        };
        let bar = bars.add(bar.with_message(label.to_owned()));
        bar.enable_steady_tick(TICK);
        Box::new(Bar(bar))
    }

    fn warn(&self, message: &str) {
        self.print(|| self.printer.warn(message));
    }
}

/// A bar, which disappears when the work is done.
struct Bar(ProgressBar);

impl Progress for Bar {
    fn advance(&self, bytes: u64) {
        self.0.inc(bytes);
    }
}

impl Drop for Bar {
    fn drop(&mut self) {
        self.0.finish_and_clear();
    }
}

fn style(template: &str) -> ProgressStyle {
    ProgressStyle::with_template(template).expect("the templates of this module are well-formed")
}

/// A size for people, in the units and digits of the original tool (`1.70 KiB`).
pub(super) fn human_size(bytes: u64) -> String {
    const UNITS: [&str; 6] = ["B", "KiB", "MiB", "GiB", "TiB", "PiB"];
    let mut unit = 0;
    let mut scale = 1_u64;
    while unit + 1 < UNITS.len() && bytes / scale >= 1024 {
        scale *= 1024;
        unit += 1;
    }
    let hundredths = u128::from(bytes) * 100 / u128::from(scale)
        + u128::from(u128::from(bytes) * 1000 / u128::from(scale) % 10 >= 5);
    format!("{}.{:02} {}", hundredths / 100, hundredths % 100, UNITS[unit])
}

#[cfg(test)]
mod tests {
    use super::human_size;

    #[test]
    fn sizes_have_two_decimals() {
        for (bytes, text) in [
            (0, "0.00 B"),
            (443, "443.00 B"),
            (1741, "1.70 KiB"),
            (1 << 30, "1.00 GiB"),
            (1_048_575, "1024.00 KiB"),
        ] {
            assert_eq!(human_size(bytes), text);
        }
    }
}
