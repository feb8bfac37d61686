use event::SeqRange;
use tokio::net::TcpListener;
use warm_tier::{
    Error,
    remote::{Client, Order, Scan, Server, Table},
};

use crate::{
    seal::two_classes,
    world::{PARTITION, World, events, sealed_ranges},
};

#[tokio::test(flavor = "multi_thread")]
async fn a_remote_reader_gets_the_same_rows_and_the_coverage() {
    let world = World::new();
    let mut partition = world.partition();
    sealed_ranges(&mut partition, 3, &two_classes());
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let server = Server::new(world.tier.scanner().unwrap());
    tokio::spawn(server.serve(listener, std::future::pending()));
    let client = Client::new(&url).unwrap();

    let coverage = client.coverage().await.unwrap();
    let mut scan = Scan::new(Table::Events, PARTITION, vec![SeqRange { lo: 1, hi: 30 }]);
    scan.order = Order::Asc;
    scan.removals = Some(coverage.partition(PARTITION).unwrap().removals);
    let batches = client.collect(&scan).await.unwrap();

    assert_eq!(coverage.partitions, [partition.sealed().coverage()]);
    let rows: Vec<_> = batches
        .iter()
        .flat_map(|b| segment::decode(b).unwrap())
        .collect();
    assert_eq!(rows, events(1, 30));

    scan.ranges = vec![SeqRange { lo: 1, hi: 31 }];
    let error = client.collect(&scan).await.unwrap_err();
    assert!(error.is_transient(), "{error}");
    scan.columns = Some(vec!["nothing".to_owned()]);
    let error = client.collect(&scan).await.unwrap_err();
    assert!(matches!(error, Error::Invalid(_)), "{error}");
}

#[tokio::test]
async fn an_unreachable_compactor_is_a_transient_error() {
    let url = format!("http://127.0.0.1:{}", testkit::free_port());
    let error = Client::new(&url).unwrap().coverage().await.unwrap_err();
    assert!(error.is_transient(), "{error}");
}
