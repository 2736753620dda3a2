package istio

import (
	"os"
	"strings"
	"testing"

	"istio.io/istio/pilot/pkg/model"
	"istio.io/istio/pilot/test/xds"
)

// The cluster of the brokers in deploy/istio/kafka-tls.yaml.
const brokers = "outbound|9092||*.kafka.example"

// The filter reads the application's plain connection, and Envoy speaks TLS to the broker.
// e2e/tests/istio runs an Envoy with what is written here.
func TestBrokersWithTLSAreSeenWithoutIt(t *testing.T) {
	entry := read(t, "istio/kafka-tls.yaml")
	// The network of the brokers in that test.
	if network := os.Getenv("KAFKA_NETWORK"); network != "" {
		entry = strings.ReplaceAll(entry, "192.0.2.0/24", network)
	}
	configs := read(t, "istio/envoyfilter.yaml") + "\n---\n" + entry
	if err := validate(configs); err != nil {
		t.Fatal(err)
	}
	server := xds.NewFakeDiscoveryServer(t, xds.FakeOptions{
		ConfigString: configs,
		MeshConfig:   meshOf(t),
	})
	labels := map[string]string{"app": "eshop"}
	proxy := proxyOf(server, model.SidecarProxy, "10.0.0.1", "eshop", labels)
	clusters := server.Clusters(proxy)
	write(t, "tls-clusters.json", clusters)
	listeners := server.Listeners(proxy)
	write(t, "tls-listeners.json", listeners)

	kafka := 0
	for _, listener := range listeners {
		text := compact(listener)
		ours, proxy := strings.Index(text, `"throughline_kafka"`), strings.Index(text, brokers)
		if proxy >= 0 {
			kafka++
			if ours < 0 || ours > proxy {
				t.Errorf("%s: the filter is not before the TCP proxy:\n%s", listener.Name, text)
			}
		}
	}
	if kafka != 1 {
		t.Errorf("%d listeners for the brokers", kafka)
	}
	for _, cluster := range clusters {
		if cluster.Name != brokers {
			continue
		}
		text := compact(cluster)
		for _, part := range []string{
			`"type":"ORIGINAL_DST"`, "UpstreamTlsContext", `"sni":"bootstrap.kafka.example"`,
			`"exact":"bootstrap.kafka.example"`, "file-root:/etc/kafka-ca/ca.crt",
		} {
			if !strings.Contains(text, part) {
				t.Errorf("no %s in the cluster:\n%s", part, text)
			}
		}
		return
	}
	t.Errorf("no cluster %s", brokers)
}
