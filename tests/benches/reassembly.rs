//! Packets out of a byte stream: ours beside `LengthDelimitedCodec`, on the same bytes in the same
//! pieces. Each piece is copied once from where it came into the reader's buffer, as `read` would.
#![allow(missing_docs, reason = "criterion's macros write undocumented functions")]

use burdock_core::carrier::Reassembler;
use bytes::BytesMut;
use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use std::hint::black_box;
use tokio_util::codec::{Decoder, LengthDelimitedCodec};

const TOTAL: usize = 1 << 20;
const MAX_PACKET: usize = 16_384;

fn packets(len: usize) -> Vec<u8> {
    let length = u16::try_from(len).expect("a packet's length");
    let packet = [&length.to_be_bytes()[..], &vec![7; len]].concat();
    packet.repeat(TOTAL / packet.len())
}

fn reassembly(c: &mut Criterion) {
    for packet in [1_200, 8_192] {
        let bytes = packets(packet);
        let count = bytes.len() / (packet + 2);
        let mut group = c.benchmark_group(format!("packets of {packet} bytes"));
        group.throughput(Throughput::Bytes(bytes.len() as u64));
        for piece in [1_460, 64 * 1024] {
            group.bench_with_input(BenchmarkId::new("Reassembler", piece), &piece, |b, &piece| {
                let mut reassembler = Reassembler::new(MAX_PACKET, MAX_PACKET);
                let mut read = vec![0; piece];
                b.iter(|| {
                    let mut seen = 0;
                    for piece in bytes.chunks(piece) {
                        let data = &mut read[..piece.len()];
                        data.copy_from_slice(piece);
                        let mut input = reassembler.feed(data);
                        while let Some(packet) = input.next_packet().expect("whole packets") {
                            black_box(packet);
                            seen += 1;
                        }
                    }
                    assert_eq!(seen, count);
                });
            });
            group.bench_with_input(BenchmarkId::new("LengthDelimitedCodec", piece), &piece, |b, &piece| {
                let mut codec =
                    LengthDelimitedCodec::builder().length_field_length(2).max_frame_length(MAX_PACKET).new_codec();
                let mut read = BytesMut::new();
                b.iter(|| {
                    let mut seen = 0;
                    for piece in bytes.chunks(piece) {
                        read.extend_from_slice(piece);
                        while let Some(packet) = codec.decode(&mut read).expect("whole packets") {
                            black_box(packet);
                            seen += 1;
                        }
                    }
                    assert_eq!(seen, count);
                });
            });
        }
        group.finish();
    }
}

criterion_group!(benches, reassembly);
criterion_main!(benches);
