package node

import (
	"errors"
	"path/filepath"
	"time"

	v1 "k8s.io/api/core/v1"
	"sigs.k8s.io/controller-runtime/pkg/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"skiff.dev/skiff/engine"
	"skiff.dev/skiff/node/pressure"
	"skiff.dev/skiff/telemetry"
)

// Options of a node. Time is the time package's: tests run in testing/synctest.
type Options struct {
	Name string
	// Client writes, and reads single objects; Cache gives informers for Pods,
	// Services, ConfigMaps and Secrets. Either may be in process or remote, and may
	// hold the whole cluster or this node's part.
	Client client.Client
	Cache  cache.Cache

	Engine  engine.Engine
	Network PodNetwork
	Volumes Volumes
	Images  ImagePolicy

	ClusterDNS    []string // addresses; none lets ClusterFirst fall back to Default
	ClusterDomain string   // "cluster.local" where empty
	ResolvConf    string   // the machine's; "/etc/resolv.conf" where empty
	HostsFile     string   // the machine's; "/etc/hosts" where empty

	NodeIPs []string // the first is the primary one
	Port    int32    // of this node's API, for the Node object; 10250 where 0

	RootDir string // what must survive: pod directories and logs
	RunDir  string // what need not
	LogDir  string // pod logs; RootDir/podlogs where empty

	Labels map[string]string
	Taints []v1.Taint // only when the Node object is made
	// Capacity where not what the machine has. Allocatable is Capacity less Reserved.
	Capacity v1.ResourceList
	Reserved v1.ResourceList
	MaxPods  int64 // 110 where 0

	// StaticPods is a directory of manifests that run without an API server having
	// asked for them; "" for none.
	StaticPods string
	// Prepare sets the defaults of a static pod and validates it; nil does neither.
	Prepare func(*v1.Pod) error

	// Measure tells what is left of the machine's memory and disk; nil reads it.
	Measure func() pressure.Measured

	Version        string // of this program, as kubeletVersion
	RuntimeVersion string // as containerRuntimeVersion

	Telemetry *telemetry.Telemetry
}

// ImagePolicy is how images are pulled.
type ImagePolicy struct {
	// Insecure tells hosts that are reached over plain HTTP or without verification.
	Insecure func(ref string) bool
	// Credentials of the machine itself, after those of a pod's imagePullSecrets.
	Credentials func(host string) (user, secret string, err error)
	// Parallel pulls at once; 4 where 0.
	Parallel int
}

const (
	leaseDuration  = 40 * time.Second
	leaseInterval  = 10 * time.Second
	statusInterval = 5 * time.Minute
	defaultMaxPods = 110
	defaultPort    = 10250
)

func (o *Options) complete() error {
	switch {
	case o.Name == "":
		return errors.New("node: a name is needed")
	case o.Client == nil || o.Cache == nil:
		return errors.New("node: a client and a cache are needed")
	case o.Engine == nil || o.Network == nil || o.Volumes == nil:
		return errors.New("node: an engine, a network and volumes are needed")
	case o.RootDir == "":
		return errors.New("node: a root directory is needed")
	}
	fill := func(s *string, d string) {
		if *s == "" {
			*s = d
		}
	}
	fill(&o.ClusterDomain, "cluster.local")
	fill(&o.ResolvConf, "/etc/resolv.conf")
	fill(&o.HostsFile, "/etc/hosts")
	fill(&o.LogDir, filepath.Join(o.RootDir, "podlogs"))
	fill(&o.RunDir, o.RootDir)
	fill(&o.Version, "v1.36.3")
	fill(&o.RuntimeVersion, "skiff://1.0.0")
	if o.MaxPods == 0 {
		o.MaxPods = defaultMaxPods
	}
	if o.Port == 0 {
		o.Port = defaultPort
	}
	if o.Images.Parallel == 0 {
		o.Images.Parallel = 4
	}
	if o.Telemetry == nil {
		o.Telemetry = telemetry.Discard()
	}
	return nil
}
