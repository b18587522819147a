use std::sync::{Arc, Mutex};

use hickory_proto::rr::{Name, RData, rdata::A};
use tokio::time::Instant;

use super::*;

/// Answers addresses with these times to live, one after the other, and remembers when it was asked.
struct Scripted {
    ttls: Vec<u32>,
    asked: Arc<Mutex<Vec<Instant>>>,
}

impl Resolve for Scripted {
    async fn resolve<const N: usize>(
        &mut self,
        _: &str,
        kinds: [RecordType; N],
    ) -> Result<[Told; N], DiscoveryError> {
        Ok(kinds.map(|kind| self.told(kind)))
    }
}

impl Scripted {
    fn told(&mut self, kind: RecordType) -> Told {
        if kind != RecordType::A {
            return Told::of(vec![(3600, RData::A(A::new(10, 0, 0, 2)))]);
        }
        self.asked.lock().unwrap().push(Instant::now());
        let ttl = self.ttls.remove(0);
        Told::of(vec![
            (ttl + 7, RData::A(A::new(10, 0, 0, 1))),
            (ttl, RData::A(A::new(10, 0, 0, 3))),
        ])
    }
}

#[staunch::test(start_paused = true)]
async fn an_answer_is_good_for_as_long_as_its_shortest_record_within_bounds() {
    let asked = Arc::new(Mutex::new(Vec::new()));
    let resolver = Scripted { ttls: vec![30, 0, 86_400, 5, 1], asked: Arc::clone(&asked) };
    let dns = DnsDiscovery {
        name: DnsName::Addresses { host: "shop.test".to_owned(), port: 80 },
        resolver: None,
        ttl_min: Duration::from_secs(1),
        ttl_max: Duration::from_mins(5),
    };
    let mut source = DnsSource::with(resolver, &dns);
    for _ in 0..5 {
        let (found, _) = source.next().await.unwrap().judged().unwrap();
        assert_eq!(found.len(), 3, "of both families");
    }
    let asked = asked.lock().unwrap();
    let pauses: Vec<u64> = asked.windows(2).map(|two| (two[1] - two[0]).as_secs()).collect();
    assert_eq!(pauses, [30, 1, 300, 5]);
}

#[test]
fn the_first_priority_is_used_and_weights_keep_their_proportion() {
    let service = |priority, weight, target: &str| {
        let target = Name::from_ascii(target).unwrap();
        (5, RData::SRV(SRV::new(priority, weight, 80, target)))
    };
    let told = Told::of(vec![service(2, 9, "c."), service(1, 1, "a."), service(1, 0, "b.")]);
    let first: Vec<_> = first_priority(&told).iter().map(|it| it.target.to_ascii()).collect();
    assert_eq!(first, ["a.", "b."]);
    assert!(first_priority(&Told::of(vec![service(0, 0, ".")])).is_empty(), "no such service");
    assert_eq!([0, 1, 1000].map(|weight| scaled(weight, 1000)), [1, 1, 1000]);
    assert_eq!([0, 1, 65_535].map(|weight| scaled(weight, 65_535)), [1, 1, 1000]);
    assert_eq!(scaled(32_768, 65_535), 500);
}
