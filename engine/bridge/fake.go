package bridge

import (
	"net/netip"
	"sync"
)

// NewFake makes Networks that keep everything in memory and touch no machine: what
// they decide is what the real ones decide. They have the predefined networks.
func NewFake() *Manager {
	m := newManager(Options{Instance: "fake", Bridge: "docker0"}, &fakeMachine{}, noStore{})
	if err := m.predefine(); err != nil {
		panic(err) // nothing can fail: the ranges are free and there is no machine
	}
	return m
}

// fakeMachine has every port free and no routes.
type fakeMachine struct {
	mu        sync.Mutex
	published map[string][]forward
	used      []netip.Prefix          // by routes
	held      map[Binding]error       // what opening a port fails with
	fail      func(what string) error // what is the name of a method
}

func (f *fakeMachine) try(what string) error {
	if f.fail == nil {
		return nil
	}
	return f.fail(what)
}

func (f *fakeMachine) routes() ([]netip.Prefix, error)    { return f.used, f.try("routes") }
func (f *fakeMachine) free(string) (bool, error)          { return true, f.try("free") }
func (f *fakeMachine) begin([]*network, []*sandbox) error { return f.try("begin") }
func (f *fakeMachine) makeBridge(*network) error          { return f.try("makeBridge") }
func (f *fakeMachine) removeBridge(*network) error        { return f.try("removeBridge") }
func (f *fakeMachine) detach(*record, *end) error         { return f.try("detach") }
func (f *fakeMachine) route(*record, *end, *end) error    { return f.try("route") }
func (f *fakeMachine) serve(*record, resolver) error      { return f.try("serve") }
func (f *fakeMachine) unserve(string)                     {}
func (f *fakeMachine) close(Binding)                      {}
func (f *fakeMachine) Close() error                       { return nil }

func (f *fakeMachine) attach(*network, *record, *end, map[string]string) error {
	return f.try("attach")
}

func (f *fakeMachine) open(b Binding) error { return f.held[b] }

func (f *fakeMachine) publish(container string, to []forward) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.published == nil {
		f.published = map[string][]forward{}
	}
	f.published[container] = to
	if to == nil {
		delete(f.published, container)
	}
	return f.try("publish")
}

// noStore remembers nothing.
type noStore struct{}

func (noStore) beginNetwork(*Network) error { return nil }
func (noStore) saveNetwork(*Network) error  { return nil }
func (noStore) removeNetwork(string) error  { return nil }
func (noStore) endBegun(string) error       { return nil }
func (noStore) saveSandbox(*record) error   { return nil }
func (noStore) removeSandbox(string) error  { return nil }
func (noStore) load() (*state, error)       { return &state{}, nil }
