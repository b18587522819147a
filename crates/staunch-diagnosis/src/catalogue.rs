//! Libraries whose own goroutines wait by design.
//!
//! A driver keeps a reader for each connection, a client its keep-alive, a logger its flusher: as many
//! as there are connections and clients, and each ends with what it serves. What they wait for comes
//! from the network or from a clock. So a goroutine that such a library *started*, and that waits
//! *within* it, is not judged by how it waits. If a program opens one client for each request and
//! closes none, its connections show it.
//!
//! The list holds packages by the beginning of their path. It is about well-known libraries; nothing
//! that is not listed is worse off than a program's own code.

/// Whether `package` is of a library in the catalogue.
pub(crate) fn is_listed(package: &str) -> bool {
    LIBRARIES.iter().any(|library| {
        package
            .strip_prefix(library)
            .is_some_and(|rest| rest.is_empty() || rest.starts_with('/') || rest.starts_with('.'))
    })
}

const LIBRARIES: [&str; 40] = [
    // Transports.
    "golang.org/x/net",
    "google.golang.org/grpc",
    "github.com/coder/websocket",
    "github.com/hashicorp/yamux",
    "github.com/quic-go/quic-go",
    "nhooyr.io/websocket",
    // Databases and queues.
    "github.com/IBM/sarama",
    "github.com/Shopify/sarama",
    "github.com/allegro/bigcache",
    "github.com/dgraph-io/badger",
    "github.com/dgraph-io/ristretto",
    "github.com/eclipse/paho.mqtt.golang",
    "github.com/go-redis/redis",
    "github.com/go-sql-driver/mysql",
    "github.com/gomodule/redigo",
    "github.com/jackc/pgx",
    "github.com/jackc/puddle",
    "github.com/lib/pq",
    "github.com/nats-io/nats.go",
    "github.com/patrickmn/go-cache",
    "github.com/rabbitmq/amqp091-go",
    "github.com/redis/go-redis",
    "github.com/redis/rueidis",
    "github.com/segmentio/kafka-go",
    "github.com/streadway/amqp",
    "go.etcd.io/bbolt",
    "go.etcd.io/etcd/client",
    "go.mongodb.org/mongo-driver",
    // Kubernetes.
    "k8s.io/apimachinery",
    "k8s.io/client-go",
    "k8s.io/klog",
    "sigs.k8s.io/controller-runtime",
    // Logs, metrics, traces.
    "github.com/DataDog/dd-trace-go",
    "github.com/getsentry/sentry-go",
    "github.com/golang/glog",
    "github.com/prometheus/client_golang",
    "go.opencensus.io",
    "go.opentelemetry.io/otel",
    "go.uber.org/zap",
    "gopkg.in/natefinch/lumberjack",
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_package_is_listed_with_all_below_it_and_its_versions() {
        let listed = ["google.golang.org/grpc", "google.golang.org/grpc/internal/transport"];
        let versions = ["github.com/jackc/pgx/v5/pgxpool", "gopkg.in/natefinch/lumberjack.v2"];
        assert!(listed.into_iter().chain(versions).all(is_listed));
        let others = ["google.golang.org/grpcx", "google.golang.org", "main", ""];
        assert!(!others.into_iter().any(is_listed));
    }
}
