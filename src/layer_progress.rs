//! What happens to an image's layers: a bar for each on a terminal, plain lines elsewhere.

use std::io::{self, IsTerminal};
use std::sync::{Mutex, PoisonError};

use indicatif::{MultiProgress, ProgressBar, ProgressDrawTarget, ProgressStyle};

/// Where it is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Place {
    /// To stdout: it is what the command is about.
    Output,
    /// To stderr: the output belongs to a container.
    Error,
    /// Nowhere.
    Nowhere,
}

impl Place {
    /// Prints a line.
    pub fn say(self, line: &str) {
        match self {
            Self::Output => say!("{line}"),
            Self::Error => eprintln!("{line}"),
            Self::Nowhere => {}
        }
    }

    /// Room for bars, on a terminal.
    fn bars(self) -> Option<MultiProgress> {
        let target = match self {
            Self::Output if io::stdout().is_terminal() => ProgressDrawTarget::stdout(),
            Self::Error if io::stderr().is_terminal() => ProgressDrawTarget::stderr(),
            _ => return None,
        };
        Some(MultiProgress::with_draw_target(target))
    }
}

/// The layers of one image after the other.
pub struct LayerProgress {
    place: Place,
    layers: Mutex<Vec<Layer>>,
}

struct Layer {
    id: String,
    /// What was said last.
    state: &'static str,
    bar: Option<ProgressBar>,
}

impl LayerProgress {
    /// Nothing is shown before [`LayerProgress::begin`].
    pub fn new(place: Place) -> Self {
        Self { place, layers: Mutex::default() }
    }

    /// Where it is told.
    pub fn place(&self) -> Place {
        self.place
    }

    /// These are the next image's layers: what each is called, and how many bytes it has.
    pub fn begin(&self, layers: impl Iterator<Item = (String, u64)>, state: &'static str) {
        let bars = self.place.bars();
        let layers: Vec<Layer> = layers
            .map(|(id, size)| {
                let bar = bars.as_ref().map(|bars| {
                    let bar = bars.add(ProgressBar::new(size));
                    bar.set_style(style("{prefix}: {msg}"));
                    bar.set_prefix(id.clone());
                    bar
                });
                Layer { id, state: "", bar }
            })
            .collect();
        let count = layers.len();
        *self.lock() = layers;
        (0..count).for_each(|i| self.state(i, state));
    }

    /// A layer has got on.
    pub fn position(&self, layer: usize, bytes: u64, state: &'static str) {
        let mut layers = self.lock();
        let Some(Layer { bar: Some(bar), state: now, .. }) = layers.get_mut(layer) else { return };
        if *now != state {
            *now = state;
            bar.set_style(style("{prefix}: {msg} [{bar:30}] {bytes}/{total_bytes}"));
            bar.set_message(state);
        }
        bar.set_position(bytes);
    }

    /// Something is to be said about a layer.
    pub fn state(&self, layer: usize, state: &'static str) {
        self.tell(layer, state, state);
    }

    /// The same, and shows `words` instead of the state's name.
    pub fn tell(&self, layer: usize, state: &'static str, words: &str) {
        let mut layers = self.lock();
        let Some(layer) = layers.get_mut(layer) else { return };
        if layer.state == state {
            return;
        }
        layer.state = state;
        match &layer.bar {
            Some(bar) => {
                bar.set_style(style("{prefix}: {msg}"));
                bar.set_message(words.to_owned());
                bar.tick();
            }
            None => self.place.say(&format!("{}: {words}", layer.id)),
        }
    }

    /// Leaves the bars as they are.
    pub fn end(&self) {
        self.lock().iter().filter_map(|layer| layer.bar.as_ref()).for_each(ProgressBar::abandon);
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Vec<Layer>> {
        self.layers.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn style(template: &str) -> ProgressStyle {
    // A wrong template shows in the bar's looks, not in the work.
    ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar())
}
