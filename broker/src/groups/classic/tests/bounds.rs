//! Large groups and large requests.

use super::super::sessions::PENDING_MEMBERS_MAX;
use super::*;

#[test]
fn a_thousand_members_join_assign_and_leave() {
    let mut world = World::new();
    let asks = vec![ask(); 1_000];
    let ids = world.stable(&asks);
    assert_eq!(
        (world.group.member_count(), world.last_record().members.len()),
        (1_000, 1_000)
    );
    // All hold one copy of the protocol's name.
    let names: BTreeSet<*const u8> = world
        .group
        .members()
        .map(|member| member.protocols()[0].0.as_ptr())
        .collect();
    assert_eq!(names.len(), 1);
    let leaving: Vec<(&str, Option<&str>)> = ids.iter().map(|member_id| (&**member_id, None)).collect();
    let response = world.leave(5, &leaving);
    assert!(response.members.iter().all(|member| member.error_code == 0));
    assert_eq!((world.state(), world.in_flight.len()), (ClassicState::Empty, 0));
}

#[test]
fn a_hundred_thousand_members_in_one_leave() {
    let mut world = World::new();
    let ids = world.stable(&[ask()]);
    let mut leaving = vec![("nobody", None); 100_000];
    leaving.push((&ids[0], None));
    let response = world.leave(5, &leaving);
    assert_eq!(response.members.len(), 100_001);
    assert_eq!(
        response.members.iter().filter(|member| member.error_code == 0).count(),
        1
    );
    assert_eq!(world.state(), ClassicState::Empty);
}

#[test]
fn a_hundred_thousand_assignments_of_strangers() {
    let mut world = World::new();
    let (member_id, _) = world.join_dynamic(&ask());
    world.advance(DELAY_MS);
    let strangers: Vec<String> = (0..100_000)
        .map(|at| format!("stranger-{at}"))
        .chain([member_id.clone()])
        .collect();
    let waiter = world.sync(&sync_request(&member_id, 1).with_assignments(assignments(&strangers)));
    assert_eq!(world.synced(waiter).assignment, member_id.as_bytes());
    assert_eq!(world.last_record().members.len(), 1);
}

#[test]
fn an_assignment_of_ten_mebibytes_is_for_the_log_to_refuse() {
    let mut world = World::new();
    let (member_id, _) = world.join_dynamic(&ask());
    world.advance(DELAY_MS);
    world.holds_writes = true;
    let large = SyncGroupRequestAssignment::default()
        .with_member_id(string(&member_id))
        .with_assignment(Bytes::from(vec![7; 10 << 20]));
    let waiter = world.sync(&sync_request(&member_id, 1).with_assignments(vec![large]));
    world.settle(Err(ErrorCode::MessageTooLarge));
    assert_eq!(world.sync_code(waiter), ErrorCode::UnknownServerError.code());
    assert_eq!(world.state(), ClassicState::PreparingRebalance);
}

#[test]
fn ids_that_are_given_out_are_bounded() {
    let mut world = World::new();
    let first = world.join(&ask());
    world.now_ms += 1;
    for _ in 0..PENDING_MEMBERS_MAX {
        world.join(&ask());
    }
    assert_eq!(world.group.pending.len(), PENDING_MEMBERS_MAX);
    // The oldest was forgotten; its client begins anew.
    let waiter = world.join(&ask().member(&world.joined(first).member_id.clone()));
    assert_eq!(world.join_code(waiter), ErrorCode::UnknownMemberId.code());
    world.advance(i64::from(SESSION_MS));
    assert!(world.group.is_idle());
}

#[test]
fn a_hundred_thousand_protocols_in_one_join() {
    let mut world = World::new();
    let names: Vec<String> = (0..100_000).map(|at| format!("p{at}")).collect();
    let protocols: Vec<(&str, &[u8])> = names.iter().map(|name| (&**name, &b""[..])).collect();
    let (_, waiter) = world.join_dynamic(&ask().protocols(&protocols));
    world.advance(DELAY_MS);
    assert_eq!(world.joined(waiter).protocol_name.as_deref(), Some("p0"));
}

/// Member ids are strings on the wire, which older versions bound to 32,767 bytes.
#[test]
fn long_names_make_ids_that_fit() {
    for length in [32_767, 32_730, 32_731] {
        let mut world = World::new();
        let client = Client {
            client_id: Arc::from("ä".repeat(length / 2)),
            ..World::client(9)
        };
        let (waiter, request) = (world.waiter(), ask().request());
        world.with(|group, env| ((), group.join(env, &client, waiter, &request)));
        assert!(world.joined(waiter).member_id.len() <= 32_767);
        let waiter = world.join(&ask().instance(&"i".repeat(length)));
        world.advance(DELAY_MS);
        let response = world.joined(waiter);
        assert!(response.error_code == 0 && response.member_id.len() <= 32_767);
        world.follow(&response.member_id);
    }
}

/// What is kept never holds the frame of its request.
#[test]
fn nothing_kept_is_a_slice_of_a_request() {
    let mut world = World::new();
    let frame = Bytes::from(vec![b'x'; 1 << 20]);
    let mut request = ask().version(3).request();
    request.protocols[0].metadata = frame.slice(..10);
    let (waiter, client) = (world.waiter(), World::client(3));
    world.with(|group, env| ((), group.join(env, &client, waiter, &request)));
    world.advance(DELAY_MS);
    let member_id = world.joined(waiter).member_id.to_string();
    let given = SyncGroupRequestAssignment::default()
        .with_member_id(string(&member_id))
        .with_assignment(frame.slice(10..20));
    world.sync(&sync_request(&member_id, 1).with_assignments(vec![given]));
    drop(request);
    let range = frame.as_ptr() as usize..frame.as_ptr() as usize + frame.len();
    let member = world.group.members().next().expect("one");
    assert_eq!((member.metadata("range").len(), member.assignment().len()), (10, 10));
    assert!(!range.contains(&(member.metadata("range").as_ptr() as usize)));
    assert!(!range.contains(&(member.assignment().as_ptr() as usize)));
}

/// Times of the wire are 32 bits wide; sums of them never wrap.
#[test]
fn extreme_timeouts_do_no_harm() {
    for rebalance_ms in [i32::MIN, -1, 0, i32::MAX] {
        let mut world = World::new();
        let (_, waiter) = world.join_dynamic(&Ask { rebalance_ms, ..ask() });
        world.advance(DELAY_MS);
        assert_eq!(world.join_code(waiter), 0);
        world.advance(i64::from(SESSION_MS));
        assert_eq!(world.state(), ClassicState::Empty);
    }
}
