use super::*;
use crate::prng::Prng;
use simple_dns::rdata::{CNAME, HTTPS as HttpsRecord, OPT as Edns, RData, SVCB as SvcbRecord};
use simple_dns::{CLASS, Name, Packet, PacketFlag, QCLASS, QTYPE, RCODE, ResourceRecord, TYPE};
use std::net::{Ipv4Addr, Ipv6Addr};

// Another implementation, simple-dns, builds and reads the messages of these tests.

fn query_of(name: &str, kind: TYPE, edns: Option<u16>) -> Vec<u8> {
    let mut packet = Packet::new_query(0x1234);
    packet.set_flags(PacketFlag::RECURSION_DESIRED);
    packet.questions.push(simple_dns::Question::new(
        Name::new(name).unwrap(),
        QTYPE::TYPE(kind),
        QCLASS::CLASS(CLASS::IN),
        false,
    ));
    if let Some(udp_packet_size) = edns {
        *packet.opt_mut() = Some(Edns { opt_codes: vec![], udp_packet_size, version: 0 });
    }
    packet.build_bytes_vec().unwrap()
}

fn record(name: &'static str, data: RData<'static>) -> ResourceRecord<'static> {
    ResourceRecord::new(Name::new_unchecked(name), CLASS::IN, 60, data)
}

/// An answer with an alias, two addresses, and a hint beside them; compressed.
fn response_to(query: &[u8]) -> Vec<u8> {
    let mut packet = Packet::parse(query).unwrap().into_reply();
    packet.set_flags(PacketFlag::RECURSION_AVAILABLE);
    let alias = RData::CNAME(CNAME(Name::new_unchecked("cdn.example.net")));
    let hint = RData::HTTPS(HttpsRecord(SvcbRecord::new(1, Name::new_unchecked("other.example.net"))));
    packet.answers.push(record("www.example.com", alias));
    packet.answers.push(record("cdn.example.net", RData::A(Ipv4Addr::new(192, 0, 2, 1).into())));
    packet.answers.push(record("cdn.example.net", RData::AAAA(Ipv6Addr::LOCALHOST.into())));
    packet.additional_records.push(record("a.example.net", RData::A(Ipv4Addr::new(192, 0, 2, 9).into())));
    packet.additional_records.push(record("www.example.com", hint));
    packet.build_bytes_vec_compressed().unwrap()
}

#[test]
fn a_query_is_read() {
    let question = Question::parse(&query_of("WWW.Example.com", TYPE::AAAA, Some(4096))).unwrap();
    assert_eq!(question, Question { id: 0x1234, name: "www.example.com".into(), qtype: AAAA });
    assert_eq!(Question::parse(&query_of(".", TYPE::NS, None)).unwrap().name, ".");
    let odd = Question::parse(&query_of(r"a\.b\000.example.com", TYPE::A, None)).unwrap().name;
    assert_eq!(odd, r"a\046b\000.example.com");
    assert!(crate::normal_name(&odd).is_none(), "a dot within a label is no separator");
    assert!(Question::parse(&query_of("x.com", TYPE::HTTPS, None)).unwrap().is_hint());
}

#[test]
fn what_is_no_query_is_not_answered() {
    let good = query_of("a.com", TYPE::A, None);
    let with = |at: usize, byte: u8| {
        let mut bytes = good.clone();
        bytes[at] = byte;
        bytes
    };
    for (bad, why) in [
        (with(2, 0x81), "a response"),
        (with(2, 0x29), "an update"),
        (with(5, 0), "no question"),
        (with(5, 2), "two questions"),
        (with(7, 1), "an answer"),
        (with(12, 0xc0), "a pointer"),
        (with(12, 0x41), "a label of an unknown kind"),
        (with(good.len() - 1, 3), "another class"),
        (good[..good.len() - 1].to_vec(), "too short"),
        (vec![], "nothing"),
    ] {
        assert_eq!(Question::parse(&bad), None, "{why}");
        assert!(refused(&bad).is_empty() && failed(&bad).is_empty() && empty(&bad).is_empty(), "{why}");
        assert!(answer_addresses(&bad, &[], 1).is_empty(), "{why}");
    }
    // 255 bytes are a name, 256 are none.
    let name = |last: usize| format!("{0}.{0}.{0}.{1}", "a".repeat(63), "a".repeat(last));
    let mut longest = query_of(&name(61), TYPE::A, None);
    assert!(Question::parse(&longest).is_some());
    longest.insert(12 + 192 + 1, b'a');
    longest[12 + 192] += 1;
    assert!(Question::parse(&longest).is_none());
}

#[test]
fn answers_are_what_another_implementation_reads() {
    for edns in [None, Some(1400)] {
        let query = query_of("www.Example.com", TYPE::A, edns);
        let addresses = [Ipv4Addr::new(192, 0, 2, 1).into(), Ipv6Addr::LOCALHOST.into(), [192, 0, 2, 2].into()];
        for (answer, code, count) in [
            (refused(&query), RCODE::Refused, 0),
            (failed(&query), RCODE::ServerFailure, 0),
            (empty(&query), RCODE::NoError, 0),
            (answer_addresses(&query, &addresses, 5), RCODE::NoError, 2),
        ] {
            assert!(matches(&query, &answer));
            let packet = Packet::parse(&answer).unwrap();
            assert_eq!((packet.id(), packet.rcode(), packet.answers.len()), (0x1234, code, count));
            assert_eq!(packet.questions[0].qname.to_string(), "www.Example.com");
            assert!(
                packet
                    .has_flags(PacketFlag::RESPONSE | PacketFlag::RECURSION_AVAILABLE | PacketFlag::RECURSION_DESIRED)
            );
            assert_eq!(packet.opt().map(|opt| opt.udp_packet_size), edns.map(|_| 1232));
            for record in &packet.answers {
                assert_eq!((record.name.to_string().as_str(), record.ttl), ("www.Example.com", 5));
            }
        }
    }
    let query = query_of("a.com", TYPE::AAAA, None);
    let many = vec![IpAddr::from(Ipv6Addr::LOCALHOST); 100_000];
    let answer = answer_addresses(&query, &many, 0);
    assert_eq!(super::addresses(&answer).len(), 16);
    assert!(super::addresses(&answer_addresses(&query, &[[1, 2, 3, 4].into()], 0)).is_empty());
}

#[test]
fn addresses_are_those_of_the_answers() {
    let response = response_to(&query_of("www.example.com", TYPE::A, Some(1232)));
    assert_eq!(addresses(&response), [([192, 0, 2, 1].into(), 60), (Ipv6Addr::LOCALHOST.into(), 60)]);
    assert!(addresses(&response[..response.len() - 1]).is_empty());
}

#[test]
fn a_response_matches_its_query_alone() {
    let query = query_of("www.example.com", TYPE::HTTPS, None);
    let response = empty(&query);
    assert!(matches(&query, &response));
    assert!(matches(&query_of("WWW.example.COM", TYPE::HTTPS, None), &response));
    assert!(!matches(&query, &query));
    assert!(!matches(&query_of("www.example.org", TYPE::HTTPS, None), &response));
    assert!(!matches(&query, &empty(&query_of("www.example.com", TYPE::A, None))));
    let mut other = response.clone();
    other[0] ^= 1;
    assert!(!matches(&query, &other), "another number");
    let mut other = response.clone();
    let kind = other.len() - 3;
    assert_eq!(other[kind], b'A');
    other[kind] = b'a';
    assert!(!matches(&query, &other), "type 97 is not type 65 in lower case");
}

#[test]
fn hints_are_cut_off_and_the_rest_stays_whole() {
    let response = response_to(&query_of("www.example.com", TYPE::A, Some(1232)));
    let clean = without_hints(&response);
    let packet = Packet::parse(&clean).unwrap();
    assert_eq!(packet.answers.len(), 3);
    assert_eq!(packet.additional_records.len(), 1);
    assert_eq!(addresses(&clean), addresses(&response));
    assert_eq!(without_hints(&clean), clean);
    assert!(without_hints(&response[..response.len() - 1]).is_empty());
}

#[test]
fn what_does_not_fit_asks_for_tcp() {
    assert_eq!(accepted_size(&query_of("a.com", TYPE::A, None)), 512);
    assert_eq!(accepted_size(&query_of("a.com", TYPE::A, Some(0))), 512);
    assert_eq!(accepted_size(&query_of("a.com", TYPE::A, Some(900))), 900);
    assert_eq!(accepted_size(&query_of("a.com", TYPE::A, Some(65535))), 1232);
    let query = query_of("www.example.com", TYPE::A, None);
    let response = response_to(&query);
    assert_eq!(truncated(&response, response.len()), response);
    let short = truncated(&response, response.len() - 1);
    assert!(matches(&query, &short));
    let packet = Packet::parse(&short).unwrap();
    assert!(packet.has_flags(PacketFlag::TRUNCATION | PacketFlag::RESPONSE));
    assert!(packet.answers.is_empty() && packet.additional_records.is_empty());
    assert!(truncated(&vec![0xff; 2000], 512).is_empty());
}

#[test]
fn counts_that_lie_cost_nothing() {
    let mut query = query_of("a.com", TYPE::A, None);
    query[6..12].fill(0xff);
    assert!(addresses(&query).is_empty() && without_hints(&query).is_empty());
    assert_eq!(accepted_size(&query), 512);
}

#[test]
fn mutated_messages_break_nothing() {
    let query = query_of("www.example.com", TYPE::A, Some(1232));
    let seeds = [query.clone(), query_of("b.org", TYPE::HTTPS, None), response_to(&query), refused(&query)];
    let mut prng = Prng::new(53);
    for round in 0..20_000 {
        let message = prng.mutate(&seeds[round % seeds.len()]);
        if let Some(asked) = Question::parse(&message) {
            for answer in [refused(&message), failed(&message), empty(&message)] {
                assert!(matches(&message, &answer));
                assert!(answer.len() <= message.len() + 11);
            }
            // Where the other implementation reads it at all, it reads the same question.
            if let Ok(packet) = Packet::parse(&message) {
                let other = packet.questions[0].qname.iter().map(|label| label.len() + 1).sum::<usize>();
                assert_eq!(other + 5, question(&message).unwrap().len());
                assert_eq!(u16::from(packet.questions[0].qtype), asked.qtype);
            }
        }
        let clean = without_hints(&message);
        assert!(clean.len() <= message.len());
        if !clean.is_empty() {
            assert!(records(&clean).unwrap().iter().all(|record| !matches!(record.kind, SVCB | HTTPS)));
        }
        if let Ok(packet) = Packet::parse(&message) {
            // The highest bit of a class is multicast DNS's there, and part of the class here.
            let theirs: Vec<IpAddr> = packet
                .answers
                .iter()
                .filter(|record| record.class == CLASS::IN && !record.cache_flush)
                .filter_map(|record| match &record.rdata {
                    RData::A(a) => Some(Ipv4Addr::from(a.address).into()),
                    RData::AAAA(aaaa) => Some(Ipv6Addr::from(aaaa.address).into()),
                    _ => None,
                })
                .collect();
            assert!(addresses(&message).iter().all(|(addr, _)| theirs.contains(addr)));
        }
        let _ = (truncated(&message, 40), accepted_size(&message));
    }
}
