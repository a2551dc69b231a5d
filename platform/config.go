package platform

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strings"

	"github.com/spf13/pflag"
	"k8s.io/apimachinery/pkg/util/validation"

	"skiff.dev/skiff/apiserver"
	"skiff.dev/skiff/auth/pki"
	"skiff.dev/skiff/cli"
)

// Config is what `skiff up` is told. Choices that were left open are made once
// and kept in the data directory, so that the next start makes the same.
type Config struct {
	cli.Dirs `json:"-"`
	// Who and what: these hold for the start that they are given to.
	identityConfig `json:"-"`

	Listen        string `json:"listen"`
	NodeListen    string `json:"nodeListen"`
	NodeName      string `json:"nodeName"`
	NodeIP        string `json:"nodeIP,omitempty"`
	PodCIDR       string `json:"podCIDR"`
	ServiceCIDR   string `json:"serviceCIDR"`
	NodePorts     string `json:"nodePorts"`
	ClusterDomain string `json:"clusterDomain"`
	Runtime       string `json:"runtime,omitempty"`
	OldVersions   bool   `json:"oldAPIVersions"`
	LogLevel      string `json:"logLevel"`
	StaticPods    string `json:"staticPods,omitempty"`

	// Datastore is where the state lies: empty or "disk" is the data directory.
	Datastore      string `json:"datastore,omitempty"`
	DatastoreCA    string `json:"datastoreCAFile,omitempty"`
	DatastoreCert  string `json:"datastoreCertFile,omitempty"`
	DatastoreKey   string `json:"datastoreKeyFile,omitempty"`
	ClusterInit    bool   `json:"clusterInit,omitempty"`
	EtcdListen     string `json:"etcdListen,omitempty"`
	EtcdPeerListen string `json:"etcdPeerListen,omitempty"`
	// EncryptionConfig is a file of Kubernetes' EncryptionConfiguration.
	EncryptionConfig string `json:"encryptionProviderConfig,omitempty"`
	// DisableNode leaves out everything but the control plane.
	DisableNode bool `json:"disableNode,omitempty"`

	// DockerSocket is a second place for the socket of the Docker API.
	DockerSocket string `json:"dockerSocket,omitempty"`
	// Registry is where this machine's own registry listens, "" for none; in plain
	// HTTP, which is for loopback alone, unless it has a certificate.
	Registry     string `json:"registry,omitempty"`
	RegistryCert string `json:"registryCertFile,omitempty"`
	RegistryKey  string `json:"registryKeyFile,omitempty"`
	// InsecureRegistries and RegistryMirrors are engine.RegistryConfig's.
	InsecureRegistries []string `json:"insecureRegistries,omitempty"`
	RegistryMirrors    []string `json:"registryMirrors,omitempty"`
	// PublishPastFirewall publishes ports of Docker's containers as Docker does.
	PublishPastFirewall bool `json:"-"`
	// EngineOnly runs containers without a cluster.
	EngineOnly bool `json:"-"`

	// was is where the state lay in the last start; "" if there was none.
	was string
	// Limits of the API server's requests; see doc/fairness.md.
	MaxInflight int  `json:"-"`
	MaxMutating int  `json:"-"`
	Fairness    bool `json:"-"`
	// GoawayChance spreads clients over several API servers.
	GoawayChance float64 `json:"-"`

	// open are the flags that nobody set: their values may be chosen.
	open map[string]bool
}

const configFile = cli.ConfigFile

// Defaults of DESIGN's table.
const (
	defaultListen   = "0.0.0.0:6443"
	defaultNodeAPI  = "0.0.0.0:10250"
	defaultPods     = "10.244.0.0/16"
	defaultServices = "10.96.0.0/16"
	defaultEtcd     = "127.0.0.1:2379"
	etcdPeerPort    = "2380"
)

func (c *Config) flags(fs *pflag.FlagSet) {
	fs.StringVar(&c.Listen, "listen", defaultListen, "address and port of the API, https")
	fs.StringVar(&c.NodeListen, "node-listen", defaultNodeAPI, "address and port of the node's own API, https; a free port is taken where nothing is given and 10250 is not free")
	fs.StringVar(&c.NodeName, "node-name", "", "name of this node (default: the host's name)")
	fs.StringVar(&c.NodeIP, "node-ip", "", "address by which other nodes reach this one (default: that of the default route)")
	fs.StringVar(&c.PodCIDR, "pod-cidr", defaultPods, "addresses of pods; a free range is taken where nothing is given")
	fs.StringVar(&c.ServiceCIDR, "service-cidr", defaultServices, "addresses of services; a free range is taken where nothing is given")
	fs.StringVar(&c.NodePorts, "node-ports", "30000-32767", "ports of NodePort services")
	fs.StringVar(&c.ClusterDomain, "cluster-domain", "cluster.local", "DNS domain of the cluster")
	fs.BoolVar(&c.OldVersions, "old-api-versions", true, "serve API versions that Kubernetes has removed, such as extensions/v1beta1, and welcome old manifests (doc/differences.md)")
	fs.StringVar(&c.StaticPods, "static-pods", "", "directory of manifests of pods that this node runs by itself")
	fs.StringVar(&c.Datastore, "datastore", "", "where the state lies: disk (the data directory) or etcd://HOST:PORT[,HOST:PORT...][/PREFIX] (default disk)")
	fs.StringVar(&c.DatastoreCA, "datastore-cafile", "", "certificate of the authority of that etcd; makes the connection https")
	fs.StringVar(&c.DatastoreCert, "datastore-certfile", "", "client certificate for that etcd")
	fs.StringVar(&c.DatastoreKey, "datastore-keyfile", "", "key of the client certificate")
	fs.BoolVar(&c.ClusterInit, "cluster-init", false, "keep the state in a member of etcd that runs in this process")
	fs.StringVar(&c.EtcdListen, "etcd-listen", defaultEtcd, "address and port of that member for its clients, https; a free port is taken where nothing is given and 2379 is not free")
	fs.StringVar(&c.EtcdPeerListen, "etcd-peer-listen", "", "address and port of that member for other members, https (default: port 2380 of the node's address, or a free port)")
	fs.StringVar(&c.EncryptionConfig, "encryption-provider-config", "", "file of kind EncryptionConfiguration that says how kinds are encrypted in the store (default: secrets, by keys of the cluster's own)")
	fs.BoolVar(&c.DisableNode, "disable-node", false, "run the control plane alone: no pods run here")
	fs.IntVar(&c.MaxInflight, "max-requests-inflight", apiserver.DefaultMaxInflight, "how many reading requests the API serves at once; with priority and fairness the sum of this and the next is shared out among the priority levels (doc/fairness.md); 0 means no bound")
	fs.IntVar(&c.MaxMutating, "max-mutating-requests-inflight", apiserver.DefaultMaxMutating, "how many writing requests the API serves at once; 0 means no bound")
	fs.Float64Var(&c.GoawayChance, "goaway-chance", 0, "how probable it is that an HTTP/2 client is told to connect anew after an answer, so that clients spread over the servers behind a load balancer; 0 to 0.02, 0 with one server")
	fs.BoolVar(&c.Fairness, "enable-priority-and-fairness", true, "let requests wait for each other by FlowSchemas and PriorityLevelConfigurations")
	c.engineFlags(fs)
	c.identityConfig.flags(fs)
}

// settle fills in what was left open: from the data directory's last start, then
// from the machine. It changes nothing on disk.
func (c *Config) settle(fs *pflag.FlagSet) error {
	c.open = map[string]bool{}
	fs.VisitAll(func(f *pflag.Flag) { c.open[f.Name] = !f.Changed })
	if err := c.recall(fs); err != nil {
		return err
	}
	if c.NodeName == "" {
		host, err := os.Hostname()
		if err != nil {
			return fmt.Errorf("find the host's name: %w", err)
		}
		c.NodeName = strings.ToLower(host)
	}
	if err := c.identityConfig.settle(c.open); err != nil {
		return err
	}
	return c.check()
}

// recall takes the values of the last start for flags that nobody set now.
func (c *Config) recall(fs *pflag.FlagSet) error {
	raw, err := os.ReadFile(filepath.Join(c.Data, configFile))
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	var last map[string]any
	if err := json.Unmarshal(raw, &last); err != nil {
		return &Fault{What: "the configuration of the last start cannot be read: " + filepath.Join(c.Data, configFile) + ": " + err.Error(),
			Do: "repair it; or remove it and give the ranges that the cluster was made with by --pod-cidr and --service-cidr"}
	}
	c.recallDatastore(fs, last)
	_, held := cli.Holder(c.Data) // then that is what to say, later
	if run, ok := last["runDir"].(string); ok && !held && run != c.Run && exists(filepath.Join(run, "engine")) {
		return &Fault{
			What: fmt.Sprintf("--run-dir=%s, but containers of this cluster may run with %s", c.Run, run),
			Do:   "leave the flag out, or stop them first with: skiff down --data-dir " + c.Data,
		}
	}
	for name, key := range map[string]string{"listen": "listen", "node-listen": "nodeListen", "node-name": "nodeName",
		"pod-cidr": "podCIDR", "service-cidr": "serviceCIDR", "node-ports": "nodePorts", "cluster-domain": "clusterDomain", "static-pods": "staticPods",
		"datastore": "datastore", "datastore-cafile": "datastoreCAFile", "datastore-certfile": "datastoreCertFile", "datastore-keyfile": "datastoreKeyFile",
		"etcd-listen": "etcdListen", "etcd-peer-listen": "etcdPeerListen", "encryption-provider-config": "encryptionProviderConfig", "docker-socket": "dockerSocket",
		"registry": "registry", "registry-tls-cert-file": "registryCertFile", "registry-tls-private-key-file": "registryKeyFile"} {
		v, ok := last[key].(string)
		if !ok || v == "" || strings.HasPrefix(name, "datastore") && c.ClusterInit {
			continue
		}
		f := fs.Lookup(name)
		if !f.Changed {
			if err := f.Value.Set(v); err != nil {
				return err
			}
			c.open[name] = name == "node-listen"
			continue
		}
		if now := f.Value.String(); now != v && (name == "service-cidr" || name == "pod-cidr" || name == "cluster-domain") {
			return &Fault{What: fmt.Sprintf("--%s=%s, but this cluster was made with %s", name, now, v), Do: "leave the flag out, or begin anew with: skiff reset"}
		}
	}
	return nil
}

// recallDatastore notes where the state lay in the last start, and goes on with an
// embedded member unless another place is given now.
func (c *Config) recallDatastore(fs *pflag.FlagSet, last map[string]any) {
	before := Config{}
	before.Datastore, _ = last["datastore"].(string)
	before.ClusterInit, _ = last["clusterInit"].(bool)
	c.was = before.where()
	if !fs.Changed("datastore") && !fs.Changed("cluster-init") {
		c.ClusterInit = before.ClusterInit
	}
}

// where is the place of the state, to compare two starts.
func (c *Config) where() string {
	switch {
	case c.ClusterInit:
		return embedded
	case c.Datastore == "":
		return onDisk
	}
	return c.Datastore
}

func (c *Config) datastoreTLS() etcdTLS {
	return etcdTLS{CA: c.DatastoreCA, Cert: c.DatastoreCert, Key: c.DatastoreKey}
}

func (c *Config) remember() error {
	raw, err := json.MarshalIndent(struct {
		*Config
		RunDir string `json:"runDir"`
	}{c, c.Run}, "", "  ")
	if err != nil {
		return err
	}
	return pki.WriteFile(filepath.Join(c.Data, configFile), append(raw, '\n'))
}

func (c *Config) check() error {
	if msgs := validation.IsDNS1123Subdomain(c.NodeName); len(msgs) > 0 {
		return &Fault{What: fmt.Sprintf("%q cannot be a node's name: %s", c.NodeName, msgs[0]), Do: "give another with --node-name"}
	}
	for flag, v := range map[string]string{"listen": c.Listen, "node-listen": c.NodeListen} {
		if _, _, err := net.SplitHostPort(v); err != nil {
			return &Fault{What: fmt.Sprintf("--%s=%s is not an address and port", flag, v), Do: "write it like 0.0.0.0:6443"}
		}
	}
	var prefixes []netip.Prefix
	for _, v := range []struct{ flag, value string }{{"pod-cidr", c.PodCIDR}, {"service-cidr", c.ServiceCIDR}} {
		p, err := netip.ParsePrefix(v.value)
		if err != nil || !p.Addr().Is4() || p.Masked() != p || p.Bits() > 24 || p.Bits() < 8 {
			return &Fault{What: fmt.Sprintf("--%s=%s is not a range of IPv4 addresses between /8 and /24", v.flag, v.value), Do: "write it like " + defaultPods}
		}
		prefixes = append(prefixes, p)
	}
	if prefixes[0].Overlaps(prefixes[1]) {
		return &Fault{What: fmt.Sprintf("--pod-cidr=%s and --service-cidr=%s overlap", c.PodCIDR, c.ServiceCIDR), Do: "give ranges that do not"}
	}
	if c.Datastore != "" && c.Datastore != onDisk {
		if c.ClusterInit {
			return &Fault{What: "--cluster-init and --datastore=" + c.Datastore + " exclude each other", Do: "give one of them"}
		}
		if _, err := parsePlace("datastore", c.Datastore); err != nil {
			return err
		}
		if strings.HasPrefix(c.Datastore, "disk:") {
			return &Fault{What: "--datastore=" + c.Datastore + ": the state on disk lies in the data directory", Do: "give --data-dir, and --datastore=disk"}
		}
	}
	if c.NodeIP != "" {
		if _, err := netip.ParseAddr(c.NodeIP); err != nil {
			return &Fault{What: fmt.Sprintf("--node-ip=%s is not an address", c.NodeIP), Do: "write it like 192.0.2.10"}
		}
	}
	return nil
}

// Fault is a failure that the user can mend: what is wrong and what to do.
type Fault struct {
	What, Do string
	Err      error
}

func (f *Fault) Error() string {
	if f.Do == "" {
		return f.What
	}
	return f.What + "\n  " + f.Do
}

func (f *Fault) Unwrap() error { return f.Err }

func exists(path string) bool {
	_, err := os.Lstat(path)
	return !errors.Is(err, fs.ErrNotExist)
}

// told are the flags with their values, for /flagz.
func (c *Config) told() map[string]string {
	fs := pflag.NewFlagSet("", pflag.ContinueOnError)
	now := *c
	var all Config
	all.flags(fs)
	all = now
	out := map[string]string{}
	fs.VisitAll(func(f *pflag.Flag) { out[f.Name] = f.Value.String() })
	return out
}
