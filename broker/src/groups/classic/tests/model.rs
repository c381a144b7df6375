//! A random history: clients join, sync, leave, fall silent, change what they subscribe to and repeat themselves, while time
//! passes and the log refuses things. At no generation do two members own a partition, all members of a generation were
//! told the same, every request is answered once, and after the last event all settle. Contract 70–79.
//!
//! `CLASSIC_MODEL_SEED` replays one history.

use super::*;
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

const PARTITIONS: u8 = 12;
const CLIENTS: usize = 8;

/// What a client waits for.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Waits {
    No,
    Join(Waiter),
    Sync(Waiter),
}

/// A consumer: it does what real ones do with each answer.
#[derive(Debug)]
struct Consumer {
    is_up: bool,
    instance: Option<String>,
    version: i16,
    member_id: String,
    generation_id: i32,
    is_in_generation: bool,
    leads: Option<Vec<String>>,
    protocols: Vec<(String, Vec<u8>)>,
    waits: Waits,
    beats_at_ms: i64,
}

struct Model {
    seed: u64,
    rng: StdRng,
    world: World,
    clients: Vec<Consumer>,
    /// Generation to the leader and the protocol that its members were told.
    generations: BTreeMap<i32, (String, String)>,
    /// Generation and member to what it was assigned.
    owned: BTreeMap<(i32, String), Vec<u8>>,
    /// Generations in which a static member took another's place.
    heirs: BTreeMap<(i32, Vec<u8>), BTreeSet<Option<String>>>,
    /// The log refuses some, and clients are slow.
    refusals: bool,
}

#[test]
fn random_histories_settle_and_never_share_a_partition() {
    let given = std::env::var("CLASSIC_MODEL_SEED")
        .ok()
        .and_then(|seed| seed.parse().ok());
    let seeds = match given {
        Some(seed) => vec![seed],
        None => (0..150).collect(),
    };
    let mut stable = 0;
    for seed in seeds {
        println!("CLASSIC_MODEL_SEED={seed}");
        let mut model = Model::new(seed);
        model.run();
        stable += model.generations.len();
    }
    assert!(
        given.is_some() || stable > 1_000,
        "histories in which hardly anything happens prove nothing: {stable}"
    );
}

impl Model {
    fn new(seed: u64) -> Model {
        let mut rng = StdRng::seed_from_u64(seed);
        let mut world = World::new();
        world.holds_writes = true;
        world.config.group_max_size = if rng.random_bool(0.2) { CLIENTS - 2 } else { 100 };
        world.config.group_initial_rebalance_delay_ms = if rng.random_bool(0.3) { 0 } else { DELAY_MS };
        let clients = (0..CLIENTS).map(|at| Consumer {
            is_up: false,
            instance: rng.random_bool(0.4).then(|| format!("i{at}")),
            version: rng.random_range(5..=9),
            member_id: String::new(),
            generation_id: -1,
            is_in_generation: false,
            leads: None,
            protocols: Vec::new(),
            waits: Waits::No,
            beats_at_ms: 0,
        });
        Model {
            seed,
            clients: clients.collect(),
            rng,
            world,
            generations: BTreeMap::new(),
            owned: BTreeMap::new(),
            heirs: BTreeMap::new(),
            refusals: true,
        }
    }

    fn run(&mut self) {
        for _ in 0..400 {
            self.disturb();
            self.step();
        }
        // The last event is over. Within the longest wait for a round, twice, everything is quiet.
        self.refusals = false;
        let bound_ms = self.world.now_ms + 3 * i64::from(REBALANCE_MS) + 300_000;
        while self.world.now_ms < bound_ms {
            self.step();
        }
        self.check_settled();
    }

    /// Something happens to a client.
    fn disturb(&mut self) {
        let at = self.rng.random_range(0..CLIENTS);
        let protocols = self.some_protocols();
        let Consumer { is_up, .. } = self.clients[at];
        match self.rng.random_range(0..100) {
            0..12 if !is_up => {
                let client = &mut self.clients[at];
                *client = Consumer {
                    is_up: true,
                    instance: client.instance.take(),
                    version: client.version,
                    member_id: String::new(),
                    generation_id: -1,
                    is_in_generation: false,
                    leads: None,
                    protocols,
                    waits: Waits::No,
                    beats_at_ms: 0,
                };
            }
            // It crashes; nobody reads its answers.
            12..15 if is_up => self.clients[at].is_up = false,
            15..19 if is_up => self.leave(at),
            19..23 if is_up => {
                self.clients[at].protocols = protocols;
                self.clients[at].is_in_generation = false;
                self.clients[at].waits = Waits::No;
            }
            // Its connection breaks while it waits; it joins again on another.
            23..28 if is_up && self.clients[at].waits != Waits::No => {
                self.clients[at].waits = Waits::No;
                self.clients[at].is_in_generation = false;
            }
            _ => {}
        }
    }

    fn some_protocols(&mut self) -> Vec<(String, Vec<u8>)> {
        let topics = if self.rng.random_bool(0.5) {
            subscription(&["t"])
        } else {
            subscription(&["t", "u"])
        };
        let mut names = vec!["range", "sticky"];
        if self.rng.random_bool(0.3) {
            names.reverse();
        }
        if self.rng.random_bool(0.2) {
            names.push("own");
        }
        names.iter().map(|name| ((*name).to_owned(), topics.clone())).collect()
    }

    /// Time passes, the log answers, and every client does what it would.
    fn step(&mut self) {
        let ms = match self.rng.random_range(0..10) {
            0 => self.rng.random_range(1_000..4_000),
            1..4 => self.rng.random_range(100..1_000),
            _ => self.rng.random_range(0..100),
        };
        self.world.advance(ms);
        while !self.world.in_flight.is_empty() && (!self.refusals || self.rng.random_bool(0.7)) {
            let is_refused = self.refusals && self.rng.random_bool(0.1);
            self.world.settle(if is_refused {
                Err(ErrorCode::NotEnoughReplicas)
            } else {
                Ok(())
            });
        }
        for at in 0..CLIENTS {
            if self.clients[at].is_up && (!self.refusals || self.rng.random_bool(0.8)) {
                self.act(at);
            }
        }
    }

    fn act(&mut self, at: usize) {
        match self.clients[at].waits {
            Waits::Join(waiter) if !self.world.is_waiting(waiter) => self.take_joined(at, waiter),
            Waits::Sync(waiter) if !self.world.is_waiting(waiter) => self.take_synced(at, waiter),
            Waits::Join(_) | Waits::Sync(_) => {}
            Waits::No if !self.clients[at].is_in_generation => self.join(at),
            Waits::No => self.beat(at),
        }
    }

    fn join(&mut self, at: usize) {
        let client = &self.clients[at];
        let ask = Ask {
            member_id: client.member_id.clone(),
            instance: client.instance.clone(),
            version: client.version,
            protocols: client.protocols.clone(),
            ..ask()
        };
        let waiter = self.world.join(&ask);
        self.clients[at].waits = Waits::Join(waiter);
    }

    fn take_joined(&mut self, at: usize, waiter: Waiter) {
        let response = self.world.joined(waiter);
        let client = &mut self.clients[at];
        client.waits = Waits::No;
        let code = ErrorCode::from_code(response.error_code).expect("a code of Kafka's");
        match code {
            ErrorCode::None => {}
            ErrorCode::MemberIdRequired => return client.member_id = response.member_id.to_string(),
            ErrorCode::UnknownMemberId | ErrorCode::FencedInstanceId => return client.member_id.clear(),
            ErrorCode::RebalanceInProgress | ErrorCode::CoordinatorNotAvailable => return,
            ErrorCode::GroupMaxSizeReached | ErrorCode::InconsistentGroupProtocol => return client.is_up = false,
            code => panic!("seed {}: {code:?}", self.seed),
        }
        client.member_id = response.member_id.to_string();
        client.generation_id = response.generation_id;
        client.is_in_generation = true;
        let leads = response.leader == response.member_id && !response.skip_assignment;
        client.leads = leads.then(|| {
            response
                .members
                .iter()
                .map(|member| member.member_id.to_string())
                .collect()
        });
        assert_eq!(
            response.members.is_empty(),
            response.leader != response.member_id,
            "seed {}",
            self.seed
        );
        let protocol = response.protocol_name.as_deref().unwrap_or_default().to_owned();
        let (_, known) = self
            .generations
            .entry(response.generation_id)
            .or_insert((response.leader.to_string(), protocol.clone()));
        assert_eq!(*known, protocol, "seed {}: a generation has one protocol", self.seed);
        self.sync(at, &protocol);
    }

    fn sync(&mut self, at: usize, protocol: &str) {
        let client = &self.clients[at];
        let mut request =
            sync_request(&client.member_id, client.generation_id).with_protocol_name(Some(string(protocol)));
        request.group_instance_id = client.instance.as_deref().map(string);
        if let Some(members) = &client.leads {
            // Partition p goes to the member at p modulo their number.
            let mut shares = vec![Vec::new(); members.len()];
            for partition in 0..PARTITIONS {
                shares[usize::from(partition) % members.len()].push(partition);
            }
            let given = members.iter().zip(shares).map(|(member, share)| {
                SyncGroupRequestAssignment::default()
                    .with_member_id(string(member))
                    .with_assignment(Bytes::from(share))
            });
            request.assignments = given.collect();
        }
        let waiter = self.world.sync(&request);
        self.clients[at].waits = Waits::Sync(waiter);
    }

    fn take_synced(&mut self, at: usize, waiter: Waiter) {
        let response = self.world.synced(waiter);
        let client = &mut self.clients[at];
        client.waits = Waits::No;
        match ErrorCode::from_code(response.error_code).expect("a code of Kafka's") {
            ErrorCode::None => {
                client.beats_at_ms = self.world.now_ms;
                let key = (client.generation_id, client.member_id.clone());
                let share = response.assignment.to_vec();
                let instance = client.instance.clone();
                self.own(key, share, instance);
            }
            ErrorCode::UnknownMemberId | ErrorCode::FencedInstanceId => {
                client.member_id.clear();
                client.is_in_generation = false;
            }
            ErrorCode::RebalanceInProgress | ErrorCode::IllegalGeneration | ErrorCode::CoordinatorNotAvailable => {
                client.is_in_generation = false;
            }
            code => panic!("seed {}: {code:?}", self.seed),
        }
    }

    /// A member was told what it owns: the same each time, and nothing of what another owns. A static member that came back
    /// owns what the one before it did.
    fn own(&mut self, key: (i32, String), share: Vec<u8>, instance: Option<String>) {
        let before = self.owned.insert(key.clone(), share.clone());
        assert!(
            before.is_none_or(|before| before == share),
            "seed {}: {key:?} was told another share",
            self.seed
        );
        for partition in &share {
            let owners = self.heirs.entry((key.0, vec![*partition])).or_default();
            owners.insert(instance.clone().or(Some(key.1.clone())));
            assert_eq!(
                owners.len(),
                1,
                "seed {}: generation {} partition {partition}: {owners:?}",
                self.seed,
                key.0
            );
        }
    }

    fn beat(&mut self, at: usize) {
        let client = &self.clients[at];
        if self.world.now_ms - client.beats_at_ms < 3_000 {
            return;
        }
        let (member_id, generation_id) = (client.member_id.clone(), client.generation_id);
        let code = self.world.heartbeat(&member_id, generation_id);
        let client = &mut self.clients[at];
        client.beats_at_ms = self.world.now_ms;
        match code {
            ErrorCode::None => {}
            ErrorCode::UnknownMemberId => {
                client.member_id.clear();
                client.is_in_generation = false;
            }
            ErrorCode::RebalanceInProgress | ErrorCode::IllegalGeneration => client.is_in_generation = false,
            code => panic!("seed {}: {code:?}", self.seed),
        }
    }

    fn leave(&mut self, at: usize) {
        let member_id = self.clients[at].member_id.clone();
        let instance = self.clients[at].instance.clone();
        self.clients[at].is_up = false;
        if !member_id.is_empty() {
            self.world.leave(5, &[(&member_id, instance.as_deref())]);
        }
    }

    fn check_settled(&self) {
        let (world, seed) = (&self.world, self.seed);
        let up: Vec<&Consumer> = self.clients.iter().filter(|client| client.is_up).collect();
        let expected = if up.is_empty() {
            ClassicState::Empty
        } else {
            ClassicState::Stable
        };
        assert_eq!(world.state(), expected, "seed {seed}: {:?}", world.group);
        assert_eq!(world.group.member_count(), up.len(), "seed {seed}");
        assert!(world.in_flight.is_empty());
        let mut owned = BTreeSet::new();
        for client in up {
            assert_eq!(client.generation_id, world.group.generation_id(), "seed {seed}");
            assert!(world.group.member(&client.member_id).is_some(), "seed {seed}");
            let share = &self.owned[&(client.generation_id, client.member_id.clone())];
            share
                .iter()
                .for_each(|partition| assert!(owned.insert(*partition), "seed {seed}: {partition} twice"));
        }
        if expected == ClassicState::Stable {
            assert_eq!(
                owned.len(),
                usize::from(PARTITIONS),
                "seed {seed}: every partition has an owner"
            );
            assert_eq!(
                world.last_record().generation,
                world.group.generation_id(),
                "seed {seed}"
            );
        }
        let unanswered: Vec<&Waiter> = world.asked.iter().filter(|waiter| world.is_waiting(**waiter)).collect();
        assert!(unanswered.is_empty(), "seed {seed}: {unanswered:?} were never answered");
    }
}
