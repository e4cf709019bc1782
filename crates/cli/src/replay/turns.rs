//! Whose turn it is. About one departure everything happens in the order of the file, one kind of event of one day after
//! the other; what happens to different departures on neighbouring days may overlap, as nothing of one can be seen in
//! the other.

use std::{collections::HashMap, mem::discriminant, sync::Arc};

use tokio::sync::watch;

use super::agenda::Step;

/// Events of one kind on one day about one departure: how many are not over yet.
type Scene = Arc<watch::Sender<usize>>;

/// A step's place in the order.
#[derive(Debug)]
pub struct Turn {
    before: Vec<watch::Receiver<usize>>,
    scenes: Vec<Scene>,
}

/// A turn for each step.
pub fn turns(steps: &[Step]) -> Vec<Turn> {
    let mut current: HashMap<usize, (&Step, Scene, Option<Scene>)> = HashMap::new();
    let mut turns = Vec::with_capacity(steps.len());
    for step in steps {
        let mut turn = Turn { before: Vec::new(), scenes: Vec::new() };
        for stay in &step.stays {
            let same = |other: &Step| other.day == step.day && discriminant(&other.act) == discriminant(&step.act);
            let (scene, before) = match current.remove(stay) {
                Some((first, scene, before)) if same(first) => (scene, before),
                other => (Arc::new(watch::Sender::new(0)), other.map(|(_, scene, _)| scene)),
            };
            scene.send_modify(|left| *left += 1);
            turn.before.extend(before.as_ref().map(|b| b.subscribe()));
            turn.scenes.push(scene.clone());
            current.insert(*stay, (step, scene, before));
        }
        turns.push(turn);
    }
    turns
}

impl Turn {
    /// Waits until everything before it is over.
    pub async fn comes(&mut self) {
        for before in &mut self.before {
            // An error means that nobody can change it any more: then it is over.
            let _ = before.wait_for(|left| *left == 0).await;
        }
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        for scene in &self.scenes {
            scene.send_modify(|left| *left -= 1);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::{sync::Mutex, time::Duration};

    use chrono::NaiveDate;

    use super::{super::agenda::Act, *};

    #[tokio::test]
    async fn a_departure_sees_its_days_in_order_and_others_do_not_wait() {
        let day = |d| NaiveDate::from_ymd_opt(2015, 7, d).unwrap();
        let step = |d, act, row, stays: &[usize]| Step { day: day(d), act, row, stays: stays.to_vec() };
        let steps = [
            step(1, Act::Make, 0, &[0]),
            step(1, Act::Make, 1, &[0]),
            step(1, Act::Make, 2, &[1]),
            step(2, Act::Move, 3, &[0, 1]),
            step(3, Act::Make, 4, &[1]),
            step(3, Act::Make, 5, &[2]),
        ];
        let over = Arc::new(Mutex::new(Vec::new()));
        let running = steps.iter().zip(turns(&steps)).map(|(step, mut turn)| {
            let (over, row) = (over.clone(), step.row);
            tokio::spawn(async move {
                turn.comes().await;
                // Those that come first take longest.
                tokio::time::sleep(Duration::from_millis(60 - 10 * row as u64)).await;
                over.lock().unwrap().push(row);
            })
        });
        for one in running.collect::<Vec<_>>() {
            one.await.unwrap();
        }
        let over = over.lock().unwrap().clone();
        let at = |row| over.iter().position(|r| *r == row).unwrap();
        assert!([0, 1, 2].iter().all(|first| at(*first) < at(3)), "{over:?}");
        assert!(at(3) < at(4), "{over:?}");
        assert_eq!(over[0], 5, "{over:?}");
    }
}
