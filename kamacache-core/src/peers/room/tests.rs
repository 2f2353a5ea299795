//! Who is cut off, who waits, and what is given back.

use super::*;

#[tokio::test(start_paused = true)]
async fn s42_whoever_stands_still_is_cut_off_and_whoever_moves_is_not() {
    let room = Room::new();
    let (still, slow) = (Seat::loose(), Seat::loose());
    let (one, other) = (room.open(&still), room.open(&slow));
    for place in [&one, &other] {
        place.charge(1 << 20);
        place.waits();
    }
    for _ in 0..10 {
        tokio::time::advance(STILL / 8).await;
        other.moved(STEP);
        room.tend();
    }
    assert!(still.is_stopped() && !slow.is_stopped());
    assert_eq!(room.taken(), 1 << 20, "what it held is there for others");
    one.give_back(1 << 20);
    one.charge(7);
    drop(one);
    assert_eq!(room.taken(), 1 << 20, "given back once");
    other.works();
    tokio::time::advance(10 * STILL).await;
    room.tend();
    assert!(!slow.is_stopped(), "it is this side's turn");
    drop(other);
    assert_eq!(room.taken(), 0);
}

#[tokio::test(start_paused = true)]
async fn s42_large_messages_wait_for_those_that_move_and_not_for_those_that_do_not() {
    let room = Room::new();
    let seats: Vec<_> = (0..=LARGE / SHARE).map(|_| Seat::loose()).collect();
    let mut held = Vec::new();
    let (last, others) = seats.split_last().unwrap();
    for seat in others {
        let place = room.open(seat);
        held.push(place.clone().large(SHARE).await.expect("a place"));
        place.waits();
    }
    let began = Instant::now();
    let latest = room.open(last).large(SHARE).await;
    assert!(latest.is_some(), "those that stood still made room");
    assert!(began.elapsed() >= STILL_FULL - LOOK && began.elapsed() < STILL);
    assert!(others.iter().all(|seat| seat.is_stopped()));
    drop(latest);
    drop(held);
    assert_eq!((room.taken(), room.large.load(Ordering::Relaxed)), (0, 0));
}

#[tokio::test(start_paused = true)]
async fn s42_a_connection_has_its_share_of_large_messages_and_small_ones_find_room() {
    let room = Room::new();
    let (greedy, modest) = (Seat::loose(), Seat::loose());
    let place = room.open(&greedy);
    let held = place.clone().large(SHARE).await;
    assert!(
        place.clone().large(1).await.is_none(),
        "its share is used up"
    );
    let other = room.open(&modest).large(ROOM).await;
    assert!(other.is_none(), "not beside another");
    assert!(room.open(&modest).large(SHARE).await.is_some());
    drop(held);
    let all = room.open(&modest).large(usize::MAX).await;
    assert!(all.is_some(), "the largest passes alone");
    assert!(!room.is_full_for(&greedy), "small ones find room");
}

#[tokio::test(start_paused = true)]
async fn s42_whoever_takes_much_waits_for_itself_and_members_wait_for_no_stranger() {
    let room = Room::new();
    let gate = super::super::gate::Gate::new(10, |name| name == "member");
    let passes: Vec<_> = (0..5).map(|_| gate.enter(None).unwrap()).collect();
    let places: Vec<_> = passes.iter().map(|pass| room.open(pass.seat())).collect();
    places[0].charge(OF_CONNECTION);
    assert!(places[0].is_full() && !places[1].is_full());
    places[1].charge(OF_CONNECTION);
    places[2].charge(ROOM - 2 * OF_CONNECTION);
    assert!(
        places[3].is_full() && places[4].is_full(),
        "no room is left"
    );
    passes[4].seat().greeted("member");
    assert!(places[3].is_full() && !places[4].is_full());
    places[2].charge(RESERVE);
    assert!(places[4].is_full(), "there is an end to it");
    drop(places);
    assert_eq!(room.taken(), 0);
    assert_eq!(passes[0].seat().taken.load(Ordering::Relaxed), 0);
}
