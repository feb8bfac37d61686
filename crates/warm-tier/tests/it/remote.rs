use event::SeqRange;
use retention::RuleSet;
use tokio::net::TcpListener;
use warm_tier::{
    Error,
    remote::{Client, Order, Scan, Server, Table},
};

use crate::{
    seal::two_classes,
    world::{PARTITION, World, events, sealed_ranges},
};

/// Serves the tier; returns a client.
async fn serve(world: &World) -> Client {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let server = Server::new(world.tier.scanner().unwrap(), None);
    tokio::spawn(server.serve(listener, std::future::pending()));
    Client::new(&url, None).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_remote_reader_gets_the_same_rows_and_the_coverage() {
    let world = World::new();
    let mut partition = world.partition();
    sealed_ranges(&mut partition, 3, &two_classes());
    let client = serve(&world).await;

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

/// Changes the content of one row, as a bit of memory that flipped before the row was written would.
fn forge_a_row(path: &std::path::Path) {
    let connection = duckdb::Connection::open_in_memory().unwrap();
    let path = path.display();
    let sql = format!(
        "ATTACH '{path}' AS slice; UPDATE slice.events SET content = 'forged' WHERE seq = 15 AND idx = 1; \
         CHECKPOINT slice; DETACH slice;"
    );
    connection.execute_batch(&sql).unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_row_without_its_checksum_costs_its_slice_once_a_reader_reports_it() {
    let world = World::new();
    let mut partition = world.partition();
    sealed_ranges(&mut partition, 3, &RuleSet::default());
    let slice = partition.sealed().manifest().slices[1].clone();
    forge_a_row(&world.partition_dir().join(&slice.file));
    let client = serve(&world).await;
    let range = SeqRange { lo: 1, hi: 30 };
    let scan = Scan::new(Table::Events, PARTITION, vec![range]);
    let batches = client.collect(&scan).await.unwrap();
    let wrong = batches.iter().any(|batch| segment::decode(batch).is_err());
    assert!(wrong, "the row is wrong");

    assert_eq!(client.check(PARTITION, range).await.unwrap(), 1);

    let coverage = client.coverage().await.unwrap();
    let own = coverage.partition(PARTITION).unwrap();
    assert_eq!((own.slices.len(), own.gaps.len()), (2, 1));
    assert_eq!((own.gaps[0].lo, own.gaps[0].hi), (slice.lo, slice.hi));
    assert_eq!(client.check(PARTITION, range).await.unwrap(), 0);
    let batches = client.collect(&scan).await.unwrap();
    assert!(batches.iter().all(|batch| segment::decode(batch).is_ok()));
}

#[tokio::test]
async fn an_unreachable_compactor_is_a_transient_error() {
    let url = format!("http://127.0.0.1:{}", testkit::free_port());
    let error = Client::new(&url, None)
        .unwrap()
        .coverage()
        .await
        .unwrap_err();
    assert!(error.is_transient(), "{error}");
}
