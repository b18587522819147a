//! Questions to name servers and their answers, as bytes (RFC 1035, RFC 6891).

use std::{net::IpAddr, time::Duration};

use hickory_proto::{
    op::{Edns, Message, MessageType, Query, ResponseCode},
    rr::{DNSClass, Name, RData, Record, RecordType, rdata::SRV},
};

/// What fits into a datagram on every path (the DNS flag day of 2020); what does not comes by TCP.
const DATAGRAM: u16 = 1_232;

/// A question, and how its answer is known.
pub(super) struct Question {
    pub(super) bytes: Vec<u8>,
    id: u16,
    query: Query,
}

/// What a name server answers.
#[derive(Clone, Debug)]
pub(in crate::discover) struct Told {
    records: Vec<Record>,
    additional: Vec<Record>,
    /// How long that is good; of nothing as the zone says (RFC 2308).
    pub(super) ttl: Duration,
}

/// What came.
#[derive(Debug)]
pub(super) enum Read {
    Told(Told),
    /// It does not fit into a datagram.
    Truncated,
    /// It is the answer of another question, or none: somebody else may have sent it.
    NotOurs,
    /// The server cannot answer.
    Refused(ResponseCode),
}

impl Question {
    /// `None`: that is no name.
    pub(super) fn new(name: &str, kind: RecordType) -> Option<Question> {
        let mut name = Name::from_ascii(name).ok()?;
        name.set_fqdn(true);
        let query = Query::query(name, kind);
        let mut message = Message::query();
        let mut edns = Edns::new();
        edns.set_max_payload(DATAGRAM);
        message.add_query(query.clone()).set_edns(edns);
        message.metadata.recursion_desired = true;
        let bytes = message.to_vec().ok()?;
        Some(Question { bytes, id: message.metadata.id, query })
    }

    pub(super) fn read(&self, bytes: &[u8]) -> Read {
        let Ok(message) = Message::from_vec(bytes) else { return Read::NotOurs };
        let metadata = &message.metadata;
        let is_ours = metadata.id == self.id
            && metadata.message_type == MessageType::Response
            && message.queries.first() == Some(&self.query);
        if !is_ours {
            return Read::NotOurs;
        }
        match metadata.response_code {
            _ if metadata.truncation => Read::Truncated,
            ResponseCode::NoError | ResponseCode::NXDomain => Read::Told(Told::new(message)),
            code => Read::Refused(code),
        }
    }
}

impl Told {
    fn new(message: Message) -> Told {
        let is_internet = |record: &Record| record.dns_class == DNSClass::IN;
        let records: Vec<_> = message.answers.into_iter().filter(is_internet).collect();
        let nothing = || {
            message.authorities.iter().find_map(|record| match &record.data {
                RData::SOA(soa) => Some(record.ttl.min(soa.minimum)),
                _ => None,
            })
        };
        let ttl = records.iter().map(|record| record.ttl).min().or_else(nothing).unwrap_or(0);
        let additional = message.additionals.into_iter().filter(is_internet).collect();
        Told { records, additional, ttl: Duration::from_secs(ttl.into()) }
    }

    /// The addresses of the name that was asked for, or of the one that it is another name of.
    pub(super) fn addresses(&self) -> Vec<IpAddr> {
        self.records.iter().filter_map(address).collect()
    }

    /// The addresses of `name`, of which the server told unasked.
    pub(super) fn addresses_beside(&self, name: &Name) -> Vec<IpAddr> {
        self.additional.iter().filter(|record| record.name == *name).filter_map(address).collect()
    }

    pub(super) fn services(&self) -> Vec<&SRV> {
        let data = self.records.iter().map(|record| &record.data);
        data.filter_map(|data| if let RData::SRV(service) = data { Some(service) } else { None })
            .collect()
    }

    /// Whether nothing was found.
    pub(super) fn is_empty(&self) -> bool {
        self.records.is_empty()
    }
}

fn address(record: &Record) -> Option<IpAddr> {
    match &record.data {
        RData::A(address) => Some(address.0.into()),
        RData::AAAA(address) => Some(address.0.into()),
        _ => None,
    }
}

#[cfg(test)]
impl Told {
    /// What a test has a name server say.
    pub(super) fn of(records: Vec<(u32, RData)>) -> Told {
        let name = Name::from_ascii("shop.test.").unwrap();
        let mut message = Message::query();
        for (ttl, data) in records {
            message.add_answer(Record::from_rdata(name.clone(), ttl, data));
        }
        Told::new(message)
    }
}
