//! A pause after a round of work, in proportion to how long the round took.

use std::time::Duration;

use tokio::time::{self, Instant};

/// The pause of a loop after each round, so that under load the next batch is larger: a round often costs
/// the same for one item as for thousands.
#[derive(Clone, Copy, Debug)]
pub struct Linger {
    /// The pause as a multiple of the duration of the round.
    pub times: u32,
    /// The longest pause.
    pub max: Duration,
}

impl Linger {
    /// Sleeps after a round that began at `began`.
    pub async fn after(self, began: Instant) {
        time::sleep((began.elapsed() * self.times).min(self.max)).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_pause_is_a_multiple_of_the_work_up_to_the_maximum() {
        let linger = Linger {
            times: 2,
            max: Duration::from_millis(20),
        };
        for (work, expected) in [(0, 0), (4, 8), (10, 20), (500, 20)] {
            let began = Instant::now();
            time::advance(Duration::from_millis(work)).await;
            let paused = Instant::now();
            linger.after(began).await;
            assert_eq!(paused.elapsed(), Duration::from_millis(expected));
        }
    }
}
