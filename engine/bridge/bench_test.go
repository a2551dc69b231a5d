package bridge

import (
	"path/filepath"
	"testing"
)

// BenchmarkConnect is one container with a published port in a user's network.
func BenchmarkConnect(b *testing.B) {
	ns, c := newNamespace(b), newNamespace(b)
	m, err := newIn(ns, Options{Instance: "bench", Dir: filepath.Join(b.TempDir(), "n"), Bridge: "docker0"})
	if err == nil {
		err = m.Restore(b.Context(), nil)
	}
	if err == nil {
		_, err = m.Create(b.Context(), Spec{Name: "lab"})
	}
	if err != nil {
		b.Fatal(err)
	}
	defer m.Close()
	e := Endpoint{Container: id(1), Name: "web", NetNS: c.Path(), Ports: []Port{{Protocol: TCP, Container: 80, First: 8080}}}
	for _, network := range []string{"bridge", "lab"} {
		b.Run(network, func(b *testing.B) {
			for b.Loop() {
				if _, err := m.Connect(b.Context(), network, e); err != nil {
					b.Fatal(err)
				}
				if err := m.Leave(b.Context(), e.Container); err != nil {
					b.Fatal(err)
				}
				b.StopTimer()
				m.ending.Wait()
				b.StartTimer()
			}
		})
	}
}
