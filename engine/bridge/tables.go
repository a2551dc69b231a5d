package bridge

import (
	"errors"
	"maps"
	"net/netip"
	"sync"

	"golang.org/x/sys/unix"

	"skiff.dev/skiff/kernel/link"
	"skiff.dev/skiff/kernel/nft"
)

// tables keeps the kernel's tables equal to rules.
type tables struct {
	nft  nft.Conn
	host interface {
		Forget(match func(link.Flow) bool) (int, error)
	}

	mu    sync.Mutex
	rules *rules
	have  [2]map[element]string // of the ip and of the ip6 table, as the kernel has them
	begun bool
	known bool // have is true
	six   bool // there are tables of the ip6 family
}

// begin writes both tables whole. A machine without IPv6 has one.
func (t *tables) begin() error {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.begun = true
	return t.whole()
}

func (t *tables) whole() error {
	t.known = false
	if err := t.nft.Apply(t.rules.full(false)); err != nil {
		return err
	}
	err := t.nft.Apply(t.rules.full(true))
	if t.six = err == nil; err != nil && !errors.Is(err, unix.EOPNOTSUPP) && !errors.Is(err, unix.EAFNOSUPPORT) {
		return err
	}
	t.have = [2]map[element]string{t.rules.elements(false), t.rules.elements(true)}
	t.known = true
	return nil
}

// edit changes the rules by f, and, once they have begun, the kernel's tables by the
// difference.
func (t *tables) edit(f func(*rules)) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	f(t.rules)
	if !t.begun {
		return nil
	}
	if !t.known {
		return t.whole()
	}
	for i, v6 := range []bool{false, true} {
		if v6 && !t.six {
			continue
		}
		want := t.rules.elements(v6)
		tx := t.rules.tx(v6)
		change(tx, v6, t.have[i], want)
		if err := t.nft.Apply(tx); err != nil {
			// Someone has flushed the ruleset: everything is written anew.
			if err := t.whole(); err != nil {
				return err
			}
			return nil
		}
		t.have[i] = want
	}
	return nil
}

// check writes the tables anew where someone took them away.
func (t *tables) check() error {
	t.mu.Lock()
	defer t.mu.Unlock()
	there, err := t.nft.Exists(t.rules.table)
	if err != nil || there {
		return err
	}
	return t.whole()
}

// publish makes these the only published ports of a container, and ends tracked UDP
// connections that lead elsewhere now.
func (t *tables) publish(container string, to []forward) error {
	var old []forward
	err := t.edit(func(r *rules) {
		old = r.forwards[container]
		if r.forwards[container] = to; len(to) == 0 {
			delete(r.forwards, container)
		}
	})
	before, now := udp(old), udp(to)
	if err != nil || maps.Equal(before, now) {
		return err
	}
	_, err = t.host.Forget(func(f link.Flow) bool {
		if f.Protocol != unix.IPPROTO_UDP {
			return false
		}
		for _, port := range []netip.AddrPort{f.To, netip.AddrPortFrom(netip.IPv4Unspecified(), f.To.Port()), netip.AddrPortFrom(netip.IPv6Unspecified(), f.To.Port())} {
			if to, ok := now[port]; ok && f.Server != to {
				return true // what the machine itself answered until now
			}
			if to, ok := before[port]; ok && f.Server == to && now[port] != to {
				return true
			}
		}
		return false
	})
	return err
}

// drop takes both tables away.
func dropTables(c nft.Conn, table string) error {
	var errs []error
	for _, tx := range []*nft.Tx{nft.NewTx(table), nft.NewTx6(table)} {
		tx.Drop()
		err := c.Apply(tx)
		if tx.IPv6 && (errors.Is(err, unix.EOPNOTSUPP) || errors.Is(err, unix.EAFNOSUPPORT)) {
			err = nil
		}
		errs = append(errs, err)
	}
	return errors.Join(errs...)
}

// setTurns makes these the interfaces' turns.
func (t *tables) setTurns(to map[int]int) error {
	if t.sameTurns(to) {
		return nil
	}
	return t.edit(func(r *rules) { r.turns = to })
}

func (t *tables) sameTurns(to map[int]int) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	return maps.Equal(t.rules.turns, to)
}

// turnOf is the index of an interface's turn, or 0.
func (t *tables) turnOf(index int) int {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.rules.turns[index]
}
