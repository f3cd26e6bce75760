//! Lists beside the feed: which is newer, which is gone, and what one lacks.

use super::*;

#[test]
fn a_list_is_replaced_by_one_that_is_no_older() {
    let mut world = World::new();
    world.apply(&Event::Change(Change { set: vec![5], ..change(1) }));
    let older = list(&world, 0, 0, &[]);
    assert!(world.follower.take_list(0, &older, &world.keys).unwrap().is_older);
    assert!(world.is_set(5));
    let ahead = list(&world, 0, 3, &[7]);
    assert!(!world.follower.take_list(0, &ahead, &world.keys).unwrap().is_older);
    assert!(!world.is_set(5) && world.is_set(7));
    // Changes that are in the list already are not applied to it once more.
    world.apply(&Event::Change(Change { set: vec![6], ..change(2) }));
    world.apply(&Event::Change(Change { clr: vec![7], ..change(3) }));
    world.apply(&Event::Change(Change { set: vec![8], ..change(4) }));
    assert!(!world.is_set(6) && world.is_set(7) && world.is_set(8));
    // While a list is ahead of the feed a checkpoint says nothing of the state.
    let ahead = list(&world, 0, 9, &[7]);
    world.follower.take_list(0, &ahead, &world.keys).unwrap();
    assert_eq!(world.signed_checkpoint(|claims| claims.seq = 4), Next::Continue);
}

#[test]
fn an_issuer_whose_database_was_put_back_is_believed_once_it_has_been_silent_for_a_minute() {
    let mut world = World::new();
    for n in 1..=9 {
        world.apply(&Event::Change(Change { set: vec![n], ..change(n) }));
    }
    world.apply(&Event::Beat(Beat { n: 9 }));
    // A list from before that somebody on the way has kept, and one that is signed now by an instance that is behind.
    world.issuer.advance(Duration::from_mins(1));
    let behind = list(&world, 0, 4, &[1, 2, 3, 4]);
    assert!(world.follower.take_list(0, &behind, &world.keys).unwrap().is_older);
    world.issuer.advance(Duration::from_secs(1));
    assert!(world.follower.take_list(0, &behind, &world.keys).unwrap().is_older, "it is not signed anew");
    assert!(world.is_set(9));
    let put_back = list(&world, 0, 4, &[1, 2, 3, 4]);
    assert!(!world.follower.take_list(0, &put_back, &world.keys).unwrap().is_older);
    assert!(world.is_set(4) && !world.is_set(9));
    assert_eq!(world.follower.connect(), Some(4));
    assert_eq!(world.apply(&Event::Hello(Hello { n: 4, ..world.issuer.hello() })), Next::Continue);
    world.apply(&Event::Change(Change { set: vec![11], ..change(5) }));
    assert_eq!(world.apply(&Event::Beat(Beat { n: 5 })), Next::Continue);
    assert!(world.is_set(11) && world.follower.status().age() == Some(Duration::ZERO));
}

#[test]
fn what_is_known_by_polls_is_as_old_as_what_was_polled() {
    let mut world = World::new();
    world.issuer.advance(Duration::from_secs(100));
    world.follower.confirm(world.issuer.now() - 40);
    assert_eq!(world.follower.status().age(), Some(Duration::from_secs(40)));
    world.follower.confirm(world.issuer.now() - 60);
    assert_eq!(world.follower.status().age(), Some(Duration::from_secs(40)), "older news changes nothing");
    // A list from a clock that is ahead of ours is no newer than now.
    world.follower.confirm(world.issuer.now() + 20);
    assert_eq!(world.follower.status().age(), Some(Duration::ZERO));
}

#[test]
fn a_new_list_is_asked_for_and_what_it_lacks_is_repeated() {
    let mut world = World::new();
    assert_eq!(world.apply(&Event::Change(Change { lists: Some(2), ..change(1) })), Next::FetchLists);
    assert_eq!(world.follower.missing(), [1]);
    assert_eq!(world.standing(1 << 20, "shop"), Standing::UnknownList);
    let first = (1 << 20) + 3;
    world.apply(&Event::Change(Change { set: vec![first], ..change(2) }));
    // An instance that is behind gave the list out: without change 2.
    let behind = list(&world, 1, 1, &[]);
    world.follower.take_list(1, &behind, &world.keys).unwrap();
    assert_eq!(world.follower.after_lists(), Next::Reconnect("list_behind"));
    assert_eq!(world.follower.connect(), Some(1));
    let hello = Event::Hello(Hello { n: 2, lists: 2, ..world.issuer.hello() });
    assert_eq!(world.apply(&hello), Next::Continue);
    world.apply(&Event::Change(Change { set: vec![first], ..change(2) }));
    assert!(world.is_set(first));
    assert_eq!(world.follower.after_lists(), Next::Continue);
    let many = list(&world, MAX_LISTS, 2, &[]);
    assert!(world.follower.take_list(MAX_LISTS, &many, &world.keys).is_err());
}

#[test]
fn a_list_that_was_gone_does_not_come_back_as_it_was_before() {
    let mut world = World::new();
    let (old, new) = (list(&world, 1, 1, &[]), list(&world, 1, 2, &[7]));
    let mut is_older = |token: &str| world.follower.take_list(1, token, &world.keys).unwrap().is_older;
    assert!(!is_older(&new));
    world.follower.forget_list(1);
    let mut is_older = |token: &str| world.follower.take_list(1, token, &world.keys).unwrap().is_older;
    assert!(is_older(&old), "somebody on the way keeps it");
    assert!(!is_older(&new));
}
