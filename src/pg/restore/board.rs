//! Which task may start: one that waits for nothing, and whose tables nobody holds.
//!
//! Two statements that both change one table would wait for each other, and two that each lock two tables could lock them in opposite order:
//! what runs at the same time never shares a table, except those that leave its definition alone, such as the indexes of one table.

use std::cmp::Reverse;
use std::collections::{BTreeSet, HashMap};

/// How a task holds a table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Hold {
    /// Others may share it.
    Shared,
    /// Nobody else may.
    Alone,
}

/// What a task waits for.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Terms {
    /// Positions in the list of tasks that must be done before.
    pub(super) after: Vec<usize>,
    /// Ids of its tables.
    pub(super) tables: Vec<(String, Hold)>,
    /// Bytes of its tables; the heaviest begin first.
    pub(super) weight: u64,
}

/// A task that may start.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Taken {
    /// Its position.
    pub(super) task: usize,
    /// Workers that will find nothing to do beside it: the server may use as many more processes for this one.
    pub(super) spare: usize,
}

/// The state of all tasks.
#[derive(Debug)]
pub(super) struct Board {
    workers: usize,
    running: usize,
    open: usize,
    tasks: Vec<Open>,
    /// By weight, then position: what could start if its tables are free.
    ready: BTreeSet<(Reverse<u64>, usize)>,
    /// Of each table, how many share it; [`ALONE`] for one that does not.
    holders: Vec<usize>,
}

#[derive(Debug)]
struct Open {
    /// How many tasks it waits for.
    waiting: usize,
    dependents: Vec<usize>,
    tables: Vec<(usize, Hold)>,
    weight: u64,
}

const ALONE: usize = usize::MAX;

impl Board {
    pub(super) fn new(terms: impl IntoIterator<Item = Terms>, workers: usize) -> Self {
        let mut numbers: HashMap<String, usize> = HashMap::new();
        let mut after = Vec::new();
        let mut tasks: Vec<Open> = Vec::new();
        for term in terms {
            let mut number = |name: String| {
                let next = numbers.len();
                *numbers.entry(name).or_insert(next)
            };
            let tables = term.tables.into_iter().map(|(name, hold)| (number(name), hold)).collect();
            tasks.push(Open { waiting: term.after.len(), dependents: Vec::new(), tables, weight: term.weight });
            after.push(term.after);
        }
        for (task, before) in after.iter().enumerate() {
            for b in before {
                tasks[*b].dependents.push(task);
            }
        }
        let ready = tasks.iter().enumerate().filter(|(_, t)| t.waiting == 0).map(|(i, t)| (Reverse(t.weight), i)).collect();
        Self { workers, running: 0, open: tasks.len(), tasks, ready, holders: vec![0; numbers.len()] }
    }

    /// Whether every task is finished.
    pub(super) fn is_done(&self) -> bool {
        self.open == 0
    }

    fn is_free(&self, task: usize) -> bool {
        self.tasks[task].tables.iter().all(|(table, hold)| match hold {
            Hold::Shared => self.holders[*table] != ALONE,
            Hold::Alone => self.holders[*table] == 0,
        })
    }

    /// The heaviest task that may start; it is the caller's until [`Board::finish`].
    pub(super) fn take(&mut self) -> Option<Taken> {
        let key = self.ready.iter().find(|(_, i)| self.is_free(*i)).copied()?;
        self.ready.remove(&key);
        let task = key.1;
        for (table, hold) in &self.tasks[task].tables {
            self.holders[*table] = if *hold == Hold::Alone { ALONE } else { self.holders[*table] + 1 };
        }
        self.running += 1;
        let idle = self.workers.saturating_sub(self.running);
        let wanted = self.ready.iter().filter(|(_, i)| self.is_free(*i)).take(idle).count();
        Some(Taken { task, spare: idle - wanted })
    }

    /// A task is done, well or badly: its tables are free, and what waited for it waits no more.
    pub(super) fn finish(&mut self, done: usize) {
        self.open -= 1;
        self.running -= 1;
        for (table, hold) in &self.tasks[done].tables {
            self.holders[*table] = if *hold == Hold::Alone { 0 } else { self.holders[*table] - 1 };
        }
        for next in std::mem::take(&mut self.tasks[done].dependents) {
            self.tasks[next].waiting -= 1;
            if self.tasks[next].waiting == 0 {
                self.ready.insert((Reverse(self.tasks[next].weight), next));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Hold::{Alone, Shared};
    use super::*;

    fn terms(tables: &[(&str, Hold)], after: &[usize], weight: u64) -> Terms {
        let tables = tables.iter().map(|(name, hold)| ((*name).to_owned(), *hold)).collect();
        Terms { after: after.to_vec(), tables, weight }
    }

    fn take(board: &mut Board) -> Option<usize> {
        board.take().map(|t| t.task)
    }

    #[test]
    fn indexes_share_a_table_and_others_do_not() {
        let tasks = [
            terms(&[("a", Shared)], &[], 9),
            terms(&[("a", Shared)], &[], 8),
            terms(&[("a", Alone), ("b", Alone)], &[], 7),
            terms(&[("c", Alone)], &[2], 1),
        ];
        let mut board = Board::new(tasks, 3);
        assert_eq!((take(&mut board), take(&mut board), take(&mut board)), (Some(0), Some(1), None));
        board.finish(0);
        assert_eq!(take(&mut board), None);
        board.finish(1);
        assert_eq!((take(&mut board), take(&mut board)), (Some(2), None));
        board.finish(2);
        assert_eq!(take(&mut board), Some(3));
        board.finish(3);
        assert!(board.is_done());
    }

    #[test]
    fn keys_that_refer_to_one_table_are_validated_together() {
        let tasks = [
            terms(&[("lines", Alone), ("orders", Shared)], &[], 9),
            terms(&[("lines", Alone), ("items", Shared)], &[], 8),
            terms(&[("bills", Alone), ("orders", Shared)], &[], 7),
            terms(&[("orders", Alone)], &[], 6),
        ];
        let mut board = Board::new(tasks, 4);
        assert_eq!((take(&mut board), take(&mut board), take(&mut board)), (Some(0), Some(2), None));
        board.finish(0);
        assert_eq!((take(&mut board), take(&mut board)), (Some(1), None));
        board.finish(2);
        assert_eq!(take(&mut board), Some(3));
    }

    #[test]
    fn workers_are_spare_when_nothing_is_left_for_them() {
        let tasks = [
            terms(&[("a", Alone)], &[], 9),
            terms(&[("a", Alone)], &[], 8),
            terms(&[("b", Alone)], &[], 7),
            terms(&[("b", Alone)], &[2], 6),
        ];
        let mut board = Board::new(tasks, 3);
        // Of the three, one works on table a and one can work on table b.
        assert_eq!(board.take(), Some(Taken { task: 0, spare: 1 }));
        assert_eq!(board.take(), Some(Taken { task: 2, spare: 1 }));
        assert_eq!(board.take(), None);
        board.finish(2);
        board.finish(0);
        assert_eq!(board.take(), Some(Taken { task: 1, spare: 1 }));
        board.finish(1);
        assert_eq!(board.take(), Some(Taken { task: 3, spare: 2 }));
    }
}
