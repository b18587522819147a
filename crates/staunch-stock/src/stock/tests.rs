//! One after the other; what threads do to each other is in `tests/loom.rs`.

use super::*;

fn stock(most: usize, most_idle: usize) -> Stock<u32, u32> {
    let limits = Limits { most, most_idle, most_waiting: 2, order: Order::Lifo };
    Stock::with_shelves(limits, 2)
}

fn ask(stock: &Stock<u32, u32>) -> Option<Grant<u32>> {
    match stock.ask(0, Waker::noop()) {
        Ask::Granted(grant) => Some(grant),
        Ask::Wait { turn, .. } => {
            assert_eq!(stock.leave(turn), None);
            None
        }
        Ask::Full | Ask::Closed => None,
    }
}

fn stand(stock: &Stock<u32, u32>, deadline: u32) -> (Turn<u32>, bool) {
    match stock.ask(deadline, Waker::noop()) {
        Ask::Wait { turn, begins } => (turn, begins),
        other => panic!("no turn, but {other:?}"),
    }
}

fn collect(stock: &Stock<u32, u32>, turn: &Turn<u32>) -> Option<Answer<u32>> {
    stock.collect(turn, Waker::noop())
}

fn fill(stock: &Stock<u32, u32>, places: usize) {
    for _ in 0..places {
        assert_eq!(ask(stock), Some(Grant::Place));
    }
}

fn total_and_idle(stock: &Stock<u32, u32>) -> (usize, usize) {
    let count = stock.count();
    (count.total, count.idle)
}

#[test]
fn a_place_for_each_up_to_the_most() {
    let stock = stock(2, 2);
    fill(&stock, 2);
    assert_eq!(ask(&stock), None);
    assert!(matches!(stock.give(7), Given::Kept));
    assert_eq!(stock.take(), Some(7));
    assert_eq!(stock.take(), None);
    assert_eq!((total_and_idle(&stock), stock.count().taken), ((2, 0), 1));
}

/// However many processors there are.
#[test]
fn what_is_idle_is_counted_on_every_shelf() {
    let limits = Limits { most: 100, most_idle: 100, most_waiting: 2, order: Order::Lifo };
    let stock: Stock<u32, u32> = Stock::with_shelves(limits, MOST_SHELVES + 1);
    fill(&stock, MOST_SHELVES + 1);
    stock.shelves.iter().for_each(|shelf| shelf.push(7));
    assert_eq!(stock.count().idle, stock.shelves.len());
}

#[test]
fn what_lies_on_another_threads_shelf_is_taken() {
    let stock = stock(2, 2);
    fill(&stock, 2);
    stock.shelves[1 - stock.own()].push(7);
    assert_eq!(stock.take(), Some(7));
    stock.shelves[1 - stock.own()].push(7);
    assert_eq!(ask(&stock), Some(Grant::Idle(7)));
}

#[test]
fn the_longest_waiter_is_served_first_and_nobody_overtakes() {
    let stock = stock(1, 1);
    fill(&stock, 1);
    let ((first, _), (second, _)) = (stand(&stock, 0), stand(&stock, 0));
    assert!(matches!(stock.ask(0, Waker::noop()), Ask::Full));
    assert!(matches!(stock.give(7), Given::Handed(_)));
    assert_eq!(stock.take(), None, "what is granted is not to be had");
    assert_eq!(ask(&stock), None);
    assert_eq!(collect(&stock, &second), None);
    assert_eq!(collect(&stock, &first), Some(Answer::Granted(Grant::Idle(7))));
    assert!(stock.give_place().is_some(), "it broke: its place goes to the next");
    assert_eq!(collect(&stock, &second), Some(Answer::Granted(Grant::Place)));
    assert!(stock.give_place().is_none());
    assert_eq!(total_and_idle(&stock), (0, 0));
}

#[test]
fn who_leaves_the_line_gives_back_what_was_granted() {
    let stock = stock(1, 1);
    fill(&stock, 1);
    let ((first, _), (second, _)) = (stand(&stock, 0), stand(&stock, 0));
    assert!(matches!(stock.give(7), Given::Handed(_)));
    assert_eq!(stock.leave(first), Some(Grant::Idle(7)));
    assert!(matches!(stock.give(7), Given::Handed(_)));
    assert_eq!(collect(&stock, &second), Some(Answer::Granted(Grant::Idle(7))));
    assert!(matches!(stock.give(7), Given::Kept), "nobody stands in line any more");
    assert_eq!(stock.take(), Some(7));
}

#[test]
fn a_place_that_is_kept_back_is_for_the_line_when_it_is_offered_or_nothing_else_will_come() {
    let stock = stock(3, 3);
    fill(&stock, 3);
    let ((first, _), (second, _)) = (stand(&stock, 1), stand(&stock, 2));
    assert!(stock.keep_place_back().is_none() && stock.keep_place_back().is_none());
    assert_eq!((collect(&stock, &first), stock.count().total), (None, 1));
    assert!(stock.offer_place().is_some());
    assert_eq!(collect(&stock, &first), Some(Answer::Granted(Grant::Place)));
    assert!(stock.keep_place_back().is_none(), "one is lent");
    assert!(stock.keep_place_back().is_some(), "none is");
    assert_eq!(collect(&stock, &second), Some(Answer::Granted(Grant::Place)));
    assert!(stock.offer_place().is_none(), "nobody is in line");
    assert!(stock.keep_place_back().is_none());
    assert_eq!(total_and_idle(&stock), (0, 0));
}

#[test]
fn more_idle_than_wanted_are_surplus_and_their_place_is_free() {
    let stock = stock(2, 1);
    fill(&stock, 2);
    assert!(matches!(stock.give(1), Given::Kept));
    assert!(matches!(stock.give(2), Given::Surplus(2)));
    assert_eq!(total_and_idle(&stock), (1, 1));
}

#[test]
fn who_stands_in_line_for_too_long_hears_of_it_and_the_others_move_up() {
    let stock = stock(1, 1);
    fill(&stock, 1);
    let (first, begins) = stand(&stock, 1);
    let (last, again) = stand(&stock, 2);
    assert_eq!((begins, again), (true, false), "one is told to look at the line, once");
    assert_eq!(stock.expire(&0).map(|woken| woken.len()), Some(0));
    assert_eq!(stock.expire(&1).map(|woken| woken.len()), Some(1));
    assert_eq!(collect(&stock, &first), Some(Answer::TimedOut));
    assert!(matches!(stock.give(7), Given::Handed(_)));
    assert_eq!(stock.expire(&9).map(|woken| woken.len()), None, "granted in time");
    assert_eq!(collect(&stock, &last), Some(Answer::Granted(Grant::Idle(7))));
    assert!(stand(&stock, 3).1);
}

#[test]
fn who_timed_out_and_did_not_hear_of_it_leaves_with_nothing() {
    let stock = stock(1, 1);
    fill(&stock, 1);
    let (turn, _) = stand(&stock, 1);
    assert_eq!(stock.expire(&1).map(|woken| woken.len()), Some(1));
    assert_eq!(stock.leave(turn), None);
}

#[test]
fn closed_everybody_hears_of_it() {
    let stock = stock(3, 3);
    fill(&stock, 3);
    assert!(matches!(stock.give(1), Given::Kept));
    let closed = stock.close();
    assert_eq!((closed.surplus, closed.woken.len()), (vec![1], 0));
    assert!(matches!(stock.give(2), Given::Surplus(2)));
    assert!(stock.give_place().is_none());
    assert!(matches!(stock.ask(0, Waker::noop()), Ask::Closed));
    assert_eq!((stock.take(), total_and_idle(&stock)), (None, (0, 0)));
}

#[test]
fn closed_while_somebody_waits() {
    let stock = stock(1, 1);
    fill(&stock, 1);
    let (turn, _) = stand(&stock, 0);
    assert_eq!(stock.close().woken.len(), 1);
    assert_eq!(collect(&stock, &turn), Some(Answer::Closed));
    assert!(matches!(stock.give(1), Given::Surplus(1)));
}

#[test]
fn what_is_extracted_keeps_its_place() {
    let stock = stock(4, 4);
    fill(&stock, 4);
    for (number, shelf) in [(1, 0), (2, 0), (3, 1), (4, 1)] {
        stock.shelves[shelf].push(number);
    }
    let taken = stock.extract(|number, left| number % 2 == 1 && left > 3);
    assert_eq!((taken, total_and_idle(&stock)), (vec![1], (4, 3)));
}

#[test]
fn more_are_extracted_than_there_were_when_it_began() {
    let stock = stock(2, 2);
    fill(&stock, 2);
    stock.shelves[0].push(1);
    let taken = stock.extract(|number, _| {
        if *number == 1 {
            stock.shelves[1].push(2); // somebody gives another one back
        }
        true
    });
    assert_eq!((taken, total_and_idle(&stock)), (vec![1, 2], (2, 0)));
}

#[test]
fn in_order_of_age_there_is_one_shelf() {
    let limits = Limits { most: 3, most_idle: 3, most_waiting: 2, order: Order::Fifo };
    let stock: Stock<u32, u32> = Stock::with_shelves(limits, 8);
    fill(&stock, 2);
    assert!(matches!((stock.give(1), stock.give(2)), (Given::Kept, Given::Kept)));
    assert_eq!((stock.shelves.len(), stock.take(), stock.take()), (1, Some(1), Some(2)));
}

#[test]
fn a_place_ahead_of_need_is_had_while_fewer_are_idle_than_wanted() {
    let stock = stock(3, 3);
    fill(&stock, 1);
    assert!(matches!(stock.give(1), Given::Kept));
    assert!(!stock.take_place_ahead(1));
    assert!(stock.take_place_ahead(2) && stock.take_place_ahead(2));
    assert!(!stock.take_place_ahead(2), "there is no place left");
}
