package bridge

import (
	"errors"
	"fmt"
	"sync"
	"testing"
)

var errFault = errors.New("the machine fails")

// TestFaults: whatever fails in making a network or a connection, nothing stays taken,
// and the next try succeeds.
func TestFaults(t *testing.T) {
	for _, what := range []string{"routes", "makeBridge", "attach", "route", "publish", "serve"} {
		t.Run(what, func(t *testing.T) {
			m, ctx := NewFake(), t.Context()
			f := m.machine.(*fakeMachine)
			armed := true
			f.fail = func(w string) error {
				if armed && w == what {
					armed = false
					return errFault
				}
				return nil
			}
			s := Spec{Name: "lab", Options: map[string]string{optionName: "lab0"}}
			e := Endpoint{Container: id(1), Name: "web", Ports: []Port{{Protocol: TCP, Container: 80, First: 80}}}
			_, err := m.Create(ctx, s)
			if err == nil {
				_, err = m.Connect(ctx, "lab", e)
			}
			if !errors.Is(err, errFault) || armed {
				t.Fatal(err)
			}
			if len(m.ports) != 0 || len(f.published) != 0 || len(m.sandboxes) != 0 {
				t.Errorf("left: ports %v, published %v, containers %v", m.ports, f.published, m.sandboxes)
			}
			if _, err := m.Get(ctx, "lab"); err != nil {
				_, err = m.Create(ctx, s)
				must(t, err)
			}
			a, err := m.Connect(ctx, "lab", e)
			must(t, err)
			if a.IPv4.Addr().String() != "172.18.0.2" {
				t.Errorf("%s: the address of the try before is lost", a.IPv4)
			}
			must(t, m.Leave(ctx, id(1)))
			_, err = m.Remove(ctx, "lab")
			must(t, err)
		})
	}
}

// TestFaultsOfRemoval: what could not be taken away is still there to be taken away.
func TestFaultsOfRemoval(t *testing.T) {
	m, ctx := NewFake(), t.Context()
	_, err := m.Create(ctx, Spec{Name: "lab"})
	must(t, err)
	_, err = m.Connect(ctx, "lab", Endpoint{Container: id(1), Name: "web"})
	must(t, err)
	var broken string
	m.machine.(*fakeMachine).fail = func(w string) error {
		if w == broken {
			return errFault
		}
		return nil
	}
	broken = "publish"
	if err := m.Leave(ctx, id(1)); !errors.Is(err, errFault) {
		t.Error(err)
	}
	if n, _ := m.Get(ctx, "lab"); len(n.Attached) != 1 {
		t.Error("the connection is forgotten")
	}
	broken = "detach"
	if err := m.Disconnect(ctx, "lab", id(1)); !errors.Is(err, errFault) {
		t.Error(err)
	}
	must(t, m.Leave(ctx, id(1)))
	a, err := m.Connect(ctx, "lab", Endpoint{Container: id(2), Name: "next"})
	if err != nil || a.IPv4.Addr().String() != "172.18.0.3" {
		t.Error("an address is given whose interface stays", a, err)
	}
	must(t, m.Leave(ctx, id(2)))
	m.ending.Wait()
	broken = "removeBridge"
	if _, err := m.Remove(ctx, "lab"); !errors.Is(err, errFault) {
		t.Error(err)
	}
	broken = ""
	_, err = m.Remove(ctx, "lab")
	must(t, err)
}

// TestRaces: containers come and go at once, networks with them.
func TestRaces(t *testing.T) {
	m, ctx := NewFake(), t.Context()
	_, err := m.Create(ctx, Spec{Name: "lab"})
	must(t, err)
	var wg sync.WaitGroup
	for i := range 20 {
		wg.Go(func() {
			e := Endpoint{Container: id(i % 10), Name: fmt.Sprint("c", i), Ports: []Port{{Protocol: TCP, Container: 80}}}
			for range 20 {
				_, e1 := m.Connect(ctx, "lab", e)
				_, e2 := m.Connect(ctx, "bridge", e)
				m.List(ctx)
				m.Files(ctx, e.Container)
				e3 := m.Disconnect(ctx, "lab", e.Container)
				e4 := m.Leave(ctx, e.Container)
				for _, err := range []error{e1, e2, e3, e4} {
					var refused *Error
					if err != nil && !errors.As(err, &refused) {
						t.Error(err)
					}
				}
			}
		})
		wg.Go(func() {
			name := fmt.Sprint("n", i%3)
			m.Create(ctx, Spec{Name: name})
			m.Connect(ctx, name, Endpoint{Container: id(100 + i), Name: "x"})
			m.Remove(ctx, name)
			m.Leave(ctx, id(100+i))
			m.Prune(ctx, func(n *Network) bool { return n.Name == name })
		})
	}
	wg.Wait()
	if len(m.sandboxes) != 0 || len(m.ports) != 0 {
		t.Errorf("%d containers and %v stay", len(m.sandboxes), m.ports)
	}
}
