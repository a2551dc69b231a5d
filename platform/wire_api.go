package platform

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sync/errgroup"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"sigs.k8s.io/controller-runtime/pkg/client/apiutil"

	"skiff.dev/skiff/apiserver"
	"skiff.dev/skiff/apiserver/admission"
	"skiff.dev/skiff/apiserver/admit"
	"skiff.dev/skiff/apiserver/discovery"
	"skiff.dev/skiff/apiserver/openapi"
	"skiff.dev/skiff/apiserver/stream"
	"skiff.dev/skiff/auth"
	"skiff.dev/skiff/auth/pki"
	"skiff.dev/skiff/auth/policy"
	"skiff.dev/skiff/auth/token"
	"skiff.dev/skiff/client"
	"skiff.dev/skiff/kinds"
	"skiff.dev/skiff/kinds/all"
	"skiff.dev/skiff/kinds/scheme"
)

func (p *process) checkMachine(context.Context) (func(), error) {
	return nil, checkMachine(!p.cfg.DisableNode)
}

// takeDirectories makes both directories and locks them. What did not exist goes
// again when the start fails.
func (p *process) takeDirectories(context.Context) (func(), error) {
	d, err := takeDirectories(p.cfg)
	if err != nil {
		return nil, err
	}
	return func() {
		if p.abandoned {
			d.discard()
		}
		d.release()
	}, nil
}

// chooseAddresses settles ports and ranges, and keeps the choice.
func (p *process) chooseAddresses(context.Context) (func(), error) {
	var err error
	if p.nodeIP, err = nodeAddress(p.cfg.NodeIP); err != nil {
		return nil, err
	}
	if p.apiListener, err = listen("listen", p.cfg.Listen, false); err != nil {
		return nil, err
	}
	undo := func() { p.apiListener.Close() }
	p.cfg.Listen = p.apiListener.Addr().String()
	if !p.cfg.DisableNode {
		if p.nodeListener, err = listen("node-listen", p.cfg.NodeListen, p.cfg.open["node-listen"]); err != nil {
			return undo, err
		}
		undo = func() { p.apiListener.Close(); p.nodeListener.Close() }
		p.cfg.NodeListen = p.nodeListener.Addr().String()
	}
	if err := p.chooseEtcd(); err != nil {
		return undo, err
	}
	if err := p.chooseRanges(); err != nil {
		return undo, err
	}
	return undo, p.cfg.remember()
}

func (p *process) makeCertificates(context.Context) (func(), error) {
	first := firstAddress(p.services)
	port := p.apiPort()
	host := p.nodeIP.String()
	if a, err := netip.ParseAddrPort(p.cfg.Listen); err == nil && !a.Addr().IsUnspecified() {
		host = a.Addr().String()
	}
	ips := []net.IP{p.nodeIP.AsSlice(), net.ParseIP("127.0.0.1"), net.ParseIP("::1")}
	if ip := net.ParseIP(host); ip != nil {
		ips = append(ips, ip)
	}
	m, err := pki.Ensure(filepath.Join(p.cfg.Data, "pki"), pki.Options{
		NodeName:        p.cfg.NodeName,
		NodeIPs:         ips,
		ServiceIP:       first.AsSlice(),
		ClusterDomain:   p.cfg.ClusterDomain,
		Server:          "https://" + net.JoinHostPort(host, strconv.Itoa(port)),
		AdminKubeconfig: p.cfg.Kubeconfig(),
	})
	p.pki = m
	var file *pki.FileError
	if errors.As(err, &file) {
		return nil, &Fault{What: "a file of the cluster's certificates cannot be used: " + file.Path + ": " + file.Err.Error(),
			Do: "restore it from a backup, or begin anew with: skiff reset", Err: err}
	}
	return nil, err
}

func (p *process) apiPort() int { return portOf(p.cfg.Listen) }

// portOf is the port of an address that has been listened on.
func portOf(address string) int {
	_, port, _ := net.SplitHostPort(address)
	n, _ := strconv.Atoi(port)
	return n
}

func firstAddress(p netip.Prefix) netip.Addr { return p.Addr().Next() }

// nodeAddress is the one given, or that from which this machine speaks to others.
func nodeAddress(given string) (netip.Addr, error) {
	if given != "" {
		return netip.ParseAddr(given)
	}
	// Connecting a datagram socket sends nothing; it asks for the route.
	if conn, err := net.Dial("udp4", "192.0.2.1:9"); err == nil {
		defer conn.Close()
		if a, ok := netip.AddrFromSlice(conn.LocalAddr().(*net.UDPAddr).IP.To4()); ok {
			return a, nil
		}
	}
	addrs, err := net.InterfaceAddrs()
	if err != nil {
		return netip.Addr{}, err
	}
	for _, a := range addrs {
		if n, ok := a.(*net.IPNet); ok && n.IP.IsGlobalUnicast() && n.IP.To4() != nil {
			ip, _ := netip.AddrFromSlice(n.IP.To4())
			return ip, nil
		}
	}
	return netip.Addr{}, &Fault{What: "this machine has no IPv4 address that pods could reach", Do: "give one with --node-ip"}
}

// startAPI serves the API with the bootstrap policy in place.
func (p *process) startAPI(ctx context.Context) (func(), error) {
	id, err := p.newIdentity()
	if err != nil {
		return nil, err
	}
	p.identity = id
	p.table, p.scheme = all.Table(), scheme.New()
	if p.cfg.OldVersions {
		p.table = all.Lenient(p.table)
	}
	ports, err := portRange(p.cfg.NodePorts)
	if err != nil {
		return nil, err
	}
	config, keys, err := id.tokens.Issuer.Discovery("https://" + p.publicAddress().String() + token.KeysPath)
	if err != nil {
		return nil, err
	}
	groups := discovery.New(discovery.Options{Table: p.table, HideOld: !p.cfg.OldVersions, ServerAddress: p.publicAddress().String()})
	schemas := openapi.New(openapi.Options{Table: p.table, HideOld: !p.cfg.OldVersions, Version: kubernetesVersion})
	p.schemas = schemas
	streams := &stream.Streams{Nodes: p, Reader: id, Authorizer: id.may}
	extensions, err := p.newAggregator(groups, schemas)
	if err != nil {
		return nil, err
	}
	log, err := p.newAudit()
	if err != nil {
		return nil, err
	}
	callouts := id.callouts()
	judges, err := p.interceptors(callouts)
	if err != nil {
		return nil, err
	}
	p.api, err = apiserver.New(ctx, apiserver.Options{
		Store:         p.store,
		Table:         p.table,
		Scheme:        p.scheme,
		Authenticator: id.who,
		Authorizer:    id.may,
		Identified:    true, // id.who knows who may be anonymous
		Audit:         log,
		Admission:     slices.Concat(admit.Default(admit.Options{Authorizer: id.may, Rules: id.rbac, OldVersions: p.cfg.OldVersions}), judges.Chain(), admission.Chain{&admit.ResourceQuota{}}),
		TokenIssuer:   id.tokens,
		Tokens:        id.known,
		Audiences:     []string{issuer},
		Rules:         rulesOf{id},
		Feeds:         append(id.feeds(), aggregateFeed(extensions), apiserver.Feed{Resources: judges.Resources(), Apply: judges.Apply}),
		Callouts:      callouts,
		Delegate:      extensions.Route,
		Discovery:     groups,
		OpenAPI:       schemas,
		Paths: []apiserver.PathHandler{
			{Path: "/api", Handler: groups},
			{Path: "/apis", Handler: groups},
			{Path: "/api/", Handler: groups},
			{Path: "/apis/", Handler: groups},
			{Path: "/openapi/", Handler: schemas},
			{Path: token.ConfigPath, Handler: config},
			{Path: token.KeysPath, Handler: keys},
		},
		Subresources: map[string]apiserver.SubresourceHandler{
			"log": streams.Serve, "exec": streams.Serve, "attach": streams.Serve, "portforward": streams.Serve, "proxy": streams.Serve,
		},
		ServiceCIDR:   p.services,
		NodePortRange: ports,
		Advertise:     netip.AddrPortFrom(p.podsReach(), uint16(p.apiPort())),
		MaxInflight:   bound(p.cfg.MaxInflight),
		MaxMutating:   bound(p.cfg.MaxMutating),
		NoPriority:    !p.cfg.Fairness,
		GoawayChance:  min(max(p.cfg.GoawayChance, 0), 0.02),
		Flags:         p.cfg.told,
		OldVersions:   p.cfg.OldVersions,
		Leads:         p.leading(),
		Telemetry:     p.tel,
	})
	closeLog := func() {
		if log != nil {
			log.Close()
		}
	}
	if err != nil {
		return closeLog, err
	}
	undo := func() { p.api.Close(); closeLog(); id.close() }
	if p.rotation != nil {
		p.component("sealing", p.finishSealing)
	}
	reader := p.api.Reader()
	id.reader.Store(&reader)
	p.followIdentity()
	backend := p.api.InProcess(&auth.User{Name: "system:apiserver", Groups: []string{auth.GroupMasters}})
	if err := reconcilePolicy(ctx, backend, p.scheme); err != nil {
		return undo, fmt.Errorf("write the bootstrap policy: %w", err)
	}
	if err := p.publishAuthentication(ctx, backend); err != nil {
		return undo, fmt.Errorf("write the ConfigMap %s: %w", extensionConfig, err)
	}
	p.client = client.NewInProcess(p.api.InProcess(&auth.User{Name: "skiff", Groups: []string{auth.GroupMasters}}), p.scheme)
	p.component("informers", p.client.Start)
	p.component("collector", tuneCollector)
	p.component("aggregation", func(ctx context.Context) error { return extensions.Run(ctx, p.api.Registrations()) })
	p.serveAPI("api", p.apiListener)
	return undo, nil
}

func (p *process) serveAPI(name string, l net.Listener) {
	p.serveTLS(name, l, p.api.Handler(), &tls.Config{
		GetCertificate: p.pki.GetCertificate,
		ClientAuth:     tls.RequestClientCert,
		ClientCAs:      p.identity.callers,
	})
}

// bound reads a flag whose 0 means that nothing is bounded.
func bound(n int) int {
	if n == 0 {
		return -1
	}
	return n
}

// policyWriters is how many objects are written at once: writes that wait for the
// disk together share one sync.
const policyWriters = 32

// reconcilePolicy writes the roles and bindings that every cluster has, as far as
// they are missing.
func reconcilePolicy(ctx context.Context, b client.Backend, types *runtime.Scheme) error {
	var group errgroup.Group
	group.SetLimit(policyWriters)
	for _, want := range policy.Default().Objects() {
		group.Go(func() error {
			if err := reconcileObject(ctx, b, types, want); err != nil {
				return fmt.Errorf("%T %s: %w", want, want.GetName(), err)
			}
			return nil
		})
	}
	return group.Wait()
}

func reconcileObject(ctx context.Context, b client.Backend, types *runtime.Scheme, want kinds.Object) error {
	gvk, err := apiutil.GVKForObject(want, types)
	if err != nil {
		return err
	}
	k, ok := b.Kind(gvk)
	if !ok {
		return errors.New("no such kind")
	}
	have, err := b.Get(ctx, k, want.GetNamespace(), want.GetName())
	if apierrors.IsNotFound(err) {
		have, err = nil, nil
	}
	if err != nil {
		return err
	}
	write, recreate := policy.Reconcile(want, have)
	switch {
	case write == nil:
		return nil
	case have == nil:
		_, err = b.Create(ctx, k, write, &metav1.CreateOptions{})
	case recreate:
		if err = b.Delete(ctx, k, have.GetNamespace(), have.GetName(), &metav1.DeleteOptions{}); err == nil {
			_, err = b.Create(ctx, k, write, &metav1.CreateOptions{})
		}
	default:
		_, err = b.Update(ctx, k, "", write, &metav1.UpdateOptions{})
	}
	return err
}

// portRange reads "30000-32767".
func portRange(s string) ([2]int, error) {
	from, to, ok := strings.Cut(s, "-")
	a, err1 := strconv.Atoi(from)
	b, err2 := strconv.Atoi(to)
	if !ok || err1 != nil || err2 != nil || a < 1 || b > 65535 || a > b {
		return [2]int{}, &Fault{What: "--node-ports=" + s + " is not a range of ports", Do: "write it like 30000-32767"}
	}
	return [2]int{a, b}, nil
}
