package nft

import (
	"errors"
	"fmt"
	"sync"

	"github.com/google/nftables"
	"github.com/google/nftables/binaryutil"
	"github.com/google/nftables/expr"
	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"

	"skiff.dev/skiff/kernel/netns"
)

// bufferSize holds the largest transaction and its acknowledgements: a table with
// ten thousand services takes some 30 MB. The kernel counts only what is queued.
const bufferSize = 256 << 20

// kernel is Conn on a netlink socket of one namespace.
type kernel struct {
	ns *netns.Namespace

	mu   sync.Mutex
	conn *nftables.Conn
}

// Open works on ns, or on the process's own namespace if it is nil. The caller
// keeps ns open until Close. It fails with ErrNone where the kernel has no nftables.
func Open(ns *netns.Namespace) (Conn, error) {
	k := &kernel{ns: ns}
	return k, k.dial()
}

func (k *kernel) dial() (err error) {
	opts := []nftables.ConnOption{nftables.AsLasting(), nftables.WithSockOptions(func(c *netlink.Conn) error {
		return errors.Join(c.SetReadBuffer(bufferSize), c.SetWriteBuffer(bufferSize))
	})}
	open := func() (err error) {
		k.conn, err = nftables.New(opts...)
		return err
	}
	if k.ns != nil {
		// The library's own way into a namespace loses the socket's error.
		err = k.ns.Do(open)
	} else {
		err = open()
	}
	if errors.Is(err, unix.EPROTONOSUPPORT) {
		return fmt.Errorf("%w: %w", ErrNone, err)
	}
	if err != nil {
		return fmt.Errorf("nft: %w", err)
	}
	return nil
}

func (k *kernel) Close() error {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.conn.CloseLasting()
}

func (k *kernel) Apply(tx *Tx) error {
	if tx.Len() == 0 {
		return nil
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	err := queue(k.conn, tx)
	if err == nil {
		err = k.conn.Flush()
	}
	if err == nil {
		return nil
	}
	// The socket may hold answers that nobody read.
	err = errors.Join(err, k.conn.CloseLasting(), k.dial())
	if errors.Is(err, unix.ENOENT) {
		return fmt.Errorf("nft: change table %s: %w: %w", tx.Table, ErrNotFound, err)
	}
	return fmt.Errorf("nft: change table %s: %w", tx.Table, err)
}

func queue(conn *nftables.Conn, tx *Tx) error {
	table := &nftables.Table{Name: tx.Table, Family: nftables.TableFamilyIPv4}
	if tx.IPv6 {
		table.Family = nftables.TableFamilyIPv6
	}
	for _, o := range tx.ops {
		if err := queueOp(conn, table, o); err != nil {
			return err
		}
	}
	return nil
}

func queueOp(conn *nftables.Conn, table *nftables.Table, o op) error {
	chain := &nftables.Chain{Name: o.chain.Name, Table: table}
	switch o.verb {
	case addTable:
		conn.AddTable(table)
	case deleteTable:
		conn.DelTable(table)
	case addChain:
		if o.chain.Hook != "" {
			hook, ok := hooks[o.chain.Hook]
			if !ok {
				return fmt.Errorf("unknown hook %q", o.chain.Hook)
			}
			policy := nftables.ChainPolicyAccept
			chain.Type, chain.Hooknum, chain.Policy = nftables.ChainType(o.chain.Type), hook, &policy
			chain.Priority = nftables.ChainPriorityRef(nftables.ChainPriority(o.chain.Priority))
		}
		conn.AddChain(chain)
	case flushChain:
		conn.FlushChain(chain)
	case deleteChain:
		conn.DelChain(chain)
	case addRule:
		return queueRule(conn, chain, o.rule)
	default:
		return queueSet(conn, table, o)
	}
	return nil
}

var hooks = map[string]*nftables.ChainHook{
	"prerouting": nftables.ChainHookPrerouting, "input": nftables.ChainHookInput, "forward": nftables.ChainHookForward,
	"output": nftables.ChainHookOutput, "postrouting": nftables.ChainHookPostrouting,
}

func queueRule(conn *nftables.Conn, chain *nftables.Chain, text string) error {
	r, err := compile(text, chain.Table.Family == nftables.TableFamilyIPv6)
	if err != nil {
		return err
	}
	for _, s := range r.sets {
		s.set.Table = chain.Table
		if err := conn.AddSet(s.set, s.elements); err != nil {
			return err
		}
	}
	for i, e := range r.exprs {
		if l, ok := e.(*inlineLookup); ok {
			l.SetName, l.SetID = l.set.Name, l.set.ID
			r.exprs[i] = &l.Lookup
		}
	}
	conn.AddRule(&nftables.Rule{Table: chain.Table, Chain: chain, Exprs: r.exprs})
	return nil
}

// elementsAtOnce keeps an attribute of elements below netlink's 64 KB.
const elementsAtOnce = 500

func queueSet(conn *nftables.Conn, table *nftables.Table, o op) error {
	s, err := librarySet(table, o.set)
	if err != nil {
		return err
	}
	switch o.verb {
	case addSet:
		return conn.AddSet(s, nil)
	case deleteSet:
		conn.DelSet(s)
		return nil
	}
	for rest := o.elements; len(rest) > 0; {
		n := min(elementsAtOnce, len(rest))
		es := make([]nftables.SetElement, n)
		for i, e := range rest[:n] {
			if es[i], err = o.element(e); err != nil {
				return err
			}
		}
		rest = rest[n:]
		if o.verb == addElements {
			err = conn.SetAddElements(s, es)
		} else {
			err = conn.SetDeleteElements(s, es)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

func librarySet(table *nftables.Table, s Set) (*nftables.Set, error) {
	key, err := datatype(s.Key)
	if err != nil {
		return nil, err
	}
	out := &nftables.Set{
		Table: table, Name: s.Name, KeyType: key, Dynamic: s.Dynamic,
		HasTimeout: s.Timeout > 0, Timeout: s.Timeout, IsMap: s.Value != "",
	}
	switch s.Key {
	case "ifname", "iface_index":
		out.KeyByteOrder = binaryutil.NativeEndian // so that nft shows them rightly
	}
	if s.Value != "" {
		if out.DataType, err = datatype(s.Value); err != nil {
			return nil, err
		}
	}
	return out, nil
}

func (k *kernel) Exists(table string) (bool, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	all, err := k.conn.ListTablesOfFamily(nftables.TableFamilyIPv4)
	if err != nil {
		return false, fmt.Errorf("nft: list tables: %w", err)
	}
	for _, t := range all {
		if t.Name == table {
			return true, nil
		}
	}
	return false, nil
}

func (k *kernel) Elements(table string, s Set) ([]Element, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	ls, err := librarySet(&nftables.Table{Name: table, Family: nftables.TableFamilyIPv4}, s)
	if err != nil {
		return nil, err
	}
	raw, err := k.conn.GetSetElements(ls)
	if err != nil {
		return nil, fmt.Errorf("nft: list set %s: %w", s.Name, err)
	}
	out := make([]Element, 0, len(raw))
	for _, r := range raw {
		e := Element{Expires: r.Expires}
		if e.Key, err = decode(s.Key, r.Key); err != nil {
			return nil, err
		}
		switch {
		case s.Value == "verdict" && r.VerdictData != nil:
			e.Value = verdictText(r.VerdictData)
		case s.Value != "" && s.Value != "verdict":
			if e.Value, err = decode(s.Value, r.Val); err != nil {
				return nil, err
			}
		}
		out = append(out, e)
	}
	return out, nil
}

func (k *kernel) ForeignDrops(table string) ([]string, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	chains, err := k.conn.ListChains()
	if err != nil {
		return nil, fmt.Errorf("nft: list chains: %w", err)
	}
	var out []string
	for _, c := range chains {
		family := c.Table.Family
		if c.Table.Name == table || c.Hooknum == nil || *c.Hooknum != *nftables.ChainHookForward || c.Policy == nil ||
			(family != nftables.TableFamilyIPv4 && family != nftables.TableFamilyINet) {
			continue
		}
		if *c.Policy == nftables.ChainPolicyDrop {
			out = append(out, c.Table.Name)
		}
	}
	return out, nil
}

var _ expr.Any = (*inlineLookup)(nil)
