//! Members with an instance id: contract 82 (−2) and 86 (111).

use super::*;

fn static_joining(id: &str, instance_id: &str) -> ConsumerGroupHeartbeatRequest {
    joining(id, &["a"]).with_instance_id(Some(text(instance_id)))
}

fn of(instance_id: &str, request: ConsumerGroupHeartbeatRequest) -> ConsumerGroupHeartbeatRequest {
    request.with_instance_id(Some(text(instance_id)))
}

/// A group of two static members that share four partitions.
fn two() -> Bench {
    let mut bench = Bench::new(&[("a", 4)]);
    bench.beat(&static_joining("m", "i"));
    bench.beat(&static_joining("n", "j"));
    bench.settle(["m", "n"].into_iter());
    bench
}

/// contract 82: −2 leaves for a while; whoever comes with the instance id gets what it had, and the group does not move.
#[test]
fn a_static_member_comes_back_to_what_it_had() {
    let mut bench = two();
    let (epoch, had) = (bench.group().epoch(), bench.has("m"));
    let reply = bench.beat(&of("i", request("m", -2)));
    assert_eq!((reply.error_code, reply.member_epoch), (0, -2));
    assert_eq!(kinds(&bench.last), ["current"]);
    let reply = bench.beat(&static_joining("m2", "i"));
    assert_eq!((reply.error_code, reply.member_epoch), (0, epoch));
    assert_eq!(bench.assigned(&reply), Some(had));
    assert_eq!(
        kinds(&bench.last),
        [
            "-current", "-target", "-member", "member", "target", "current", "current"
        ]
    );
    assert_eq!((bench.group().epoch(), bench.group().len()), (epoch, 2));
    // The old member id has lost its place.
    assert_eq!(bench.refused(&of("i", living("m", epoch))), ErrorCode::FencedInstanceId);
    assert_eq!(bench.refused(&of("i", request("m", -1))), ErrorCode::FencedInstanceId);
    assert_eq!(bench.refused(&living("m", epoch)), ErrorCode::UnknownMemberId);
    bench.assert_replayable();
}

/// contract 86: an instance id whose member has not left is 111.
#[test]
fn an_instance_id_in_use_is_111() {
    let mut bench = two();
    assert_eq!(
        bench.refused(&static_joining("m2", "i")),
        ErrorCode::UnreleasedInstanceId
    );
    // Ours: the same member may join again, since its reply may have got lost.
    let reply = bench.beat(&static_joining("m", "i"));
    assert_eq!((reply.error_code, bench.assigned(&reply)), (0, Some(bench.has("m"))));
    assert_eq!(
        bench.refused(&of("unknown", living("m", 2))),
        ErrorCode::UnknownMemberId
    );
    assert_eq!(bench.refused(&of("j", living("m", 2))), ErrorCode::FencedInstanceId);
}

/// contract 82: nobody gets what the absent member had, until its session ends.
#[test]
fn an_absent_static_member_keeps_its_partitions() {
    let mut bench = two();
    bench.beat(&of("i", request("m", -2)));
    bench.advance(SESSION_MS - 1);
    let epoch = bench.group().epoch();
    assert_eq!(bench.beat(&living("n", epoch)).assignment, None);
    bench.advance(1);
    let reply = bench.beat(&living("n", epoch));
    assert_eq!(bench.assigned(&reply), Some(bench.topics.all(&["a"])));
    assert_eq!(bench.group().len(), 1);
}

/// A static member that left while it was giving up: who replaces it gets the target of its instance.
#[test]
fn a_replacement_follows_the_target() {
    let mut bench = Bench::new(&[("a", 4)]);
    bench.beat(&static_joining("m", "i"));
    bench.beat(&static_joining("n", "j"));
    bench.beat(&of("i", living("m", 1)));
    bench.beat(&of("i", request("m", -2)));
    let reply = bench.beat(&static_joining("m2", "i"));
    assert_eq!(
        (reply.member_epoch, bench.assigned(&reply).map(|parts| parts.len())),
        (2, Some(2))
    );
    let reply = bench.beat(&living("n", 2));
    assert_eq!(bench.assigned(&reply).map(|parts| parts.len()), Some(2));
    bench.settle(["m2", "n"].into_iter());
    bench.assert_replayable();
}

/// A replacement that wants other topics moves the group.
#[test]
fn a_replacement_may_want_something_else() {
    let mut bench = two();
    bench.topics.create("b", 2);
    bench.beat(&of("i", request("m", -2)));
    let epoch = bench.group().epoch();
    let other = joining("m2", &["b"]).with_instance_id(Some(text("i")));
    let reply = bench.beat(&other);
    assert_eq!(reply.member_epoch, epoch + 1);
    assert_eq!(bench.assigned(&reply), Some(bench.topics.all(&["b"])));
    bench.settle(["m2", "n"].into_iter());
    assert_eq!(bench.has("n"), bench.topics.all(&["a"]));
    bench.assert_replayable();
}

/// A dynamic member may become a static one, and −1 lets a static one go for good.
#[test]
fn members_become_static_and_leave() {
    let mut bench = Bench::new(&[("a", 4)]);
    bench.beat(&joining("m", &["a"]));
    bench.beat(&static_joining("m", "i"));
    assert_eq!(bench.group().static_members.get("i").map(|id| &**id), Some("m"));
    bench.beat(&of("i", request("m", -1)));
    assert!(bench.group().is_empty() && bench.group().static_members.is_empty());
    assert_eq!(bench.refused(&of("i", request("m", -1))), ErrorCode::UnknownMemberId);
    assert_eq!(bench.beat(&static_joining("m2", "i")).error_code, 0);
    bench.assert_replayable();
}
