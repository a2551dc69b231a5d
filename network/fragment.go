package network

import (
	"maps"
	"net/netip"
	"slices"

	"skiff.dev/skiff/kernel/nft"
)

// fragment is what one owner, a service or a pod, contributes to the instance's
// table: chains and sets of its own, and elements of the shared sets.
type fragment struct {
	chains   map[string][]string
	sets     map[string]nft.Set
	elements map[element]string
	// picks are those of the chains that send to one of some endpoints at random. The
	// ruleset writes their rules, because it knows which numbers are free.
	picks  map[string][]netip.AddrPort
	blocks map[string]block
	// udp tells, for each address that UDP clients write to, who answers: what is
	// tracked for others must be forgotten when this changes. A node port has the
	// address 0.0.0.0.
	udp map[netip.AddrPort][]netip.AddrPort
}

// element names a key of a shared set.
type element struct{ set, key string }

func newFragment() *fragment {
	return &fragment{
		chains: map[string][]string{}, sets: map[string]nft.Set{},
		elements: map[element]string{}, picks: map[string][]netip.AddrPort{}, blocks: map[string]block{}, udp: map[netip.AddrPort][]netip.AddrPort{},
	}
}

func (f *fragment) put(set, key, value string) { f.elements[element{set, key}] = value }

func (f *fragment) empty() bool {
	return f == nil || len(f.chains)+len(f.sets)+len(f.elements) == 0
}

// ruleset is the sum of all fragments as the kernel should hold it. It is pure: it
// writes transactions, which someone else applies.
type ruleset struct {
	table  string
	base   base
	frags  map[string]*fragment
	owners map[element]string
	blocks blocks
	// waiting lists who else wants an element that has an owner.
	waiting map[element][]string
}

// base is the part of the table that does not depend on owners.
type base struct {
	sets   []nft.Set // shared sets
	chains []baseChain
}

type baseChain struct {
	nft.Chain
	rules []string
}

func newRuleset(table string, b base) *ruleset {
	return &ruleset{
		table: table, base: b, frags: map[string]*fragment{},
		owners: map[element]string{}, waiting: map[element][]string{}, blocks: blocks{free: map[uint32][]uint32{}},
	}
}

// full writes the whole table anew, in place of what is there.
func (r *ruleset) full() *nft.Tx {
	tx := nft.NewTx(r.table)
	tx.Replace()
	for _, s := range r.base.sets {
		tx.AddSet(s)
	}
	for _, c := range r.base.chains {
		tx.AddChain(c.Chain)
	}
	owners := slices.Sorted(maps.Keys(r.frags))
	for _, o := range owners {
		f := r.frags[o]
		for _, n := range slices.Sorted(maps.Keys(f.sets)) {
			tx.AddSet(f.sets[n])
		}
		for _, n := range slices.Sorted(maps.Keys(f.chains)) {
			tx.AddChain(nft.Chain{Name: n})
		}
	}
	for _, o := range owners {
		f := r.frags[o]
		for _, n := range slices.Sorted(maps.Keys(f.chains)) {
			for _, rule := range f.chains[n] {
				tx.AddRule(n, rule)
			}
		}
	}
	for _, c := range r.base.chains {
		for _, rule := range c.rules {
			tx.AddRule(c.Name, rule)
		}
	}
	r.allElements(tx)
	return tx
}

func (r *ruleset) allElements(tx *nft.Tx) {
	bySet := map[string][]nft.Element{}
	for e, owner := range r.owners {
		bySet[e.set] = append(bySet[e.set], nft.Element{Key: e.key, Value: r.frags[owner].elements[e]})
	}
	for _, s := range r.base.sets {
		es := bySet[s.Name]
		sortElements(es)
		tx.AddElements(s, es...)
	}
}

// change puts each owner's new fragment in place of its old one (nil: none any
// more) and writes what differs. The cost is that of the fragments alone. An
// element that has an owner stays with it; another who wants it waits.
func (r *ruleset) change(news map[string]*fragment) *nft.Tx {
	tx := nft.NewTx(r.table)
	owners := slices.Sorted(maps.Keys(news))
	olds := make(map[string]*fragment, len(news))
	d := &diff{r: r, add: map[string][]nft.Element{}, del: map[string][]nft.Element{}}
	for _, o := range owners {
		f := news[o]
		if f == nil {
			f = newFragment()
		}
		news[o] = f
		olds[o] = r.frags[o]
		if olds[o] == nil {
			olds[o] = newFragment()
		}
		r.blocks.place(olds[o], f)
	}
	for _, o := range owners {
		r.blocks.leave(olds[o], news[o])
		d.release(o, olds[o], news[o])
	}
	for _, o := range owners {
		d.claim(o, olds[o], news[o])
		if r.frags[o] = news[o]; news[o].empty() {
			delete(r.frags, o)
		}
	}
	d.promote()
	for _, o := range owners {
		for _, n := range added(olds[o].sets, news[o].sets) {
			tx.AddSet(news[o].sets[n])
		}
		for _, n := range added(olds[o].chains, news[o].chains) {
			tx.AddChain(nft.Chain{Name: n})
		}
	}
	for _, o := range owners {
		writeRules(tx, olds[o].chains, news[o].chains)
	}
	for _, s := range r.base.sets {
		sortElements(d.del[s.Name])
		sortElements(d.add[s.Name])
		tx.DeleteElements(s, d.del[s.Name]...)
		tx.AddElements(s, d.add[s.Name]...)
	}
	for _, o := range owners {
		for _, n := range added(news[o].chains, olds[o].chains) {
			tx.DeleteChain(n)
		}
		for _, n := range added(news[o].sets, olds[o].sets) {
			tx.DeleteSet(olds[o].sets[n])
		}
	}
	return tx
}

// writeRules empties chains that end or change, then fills those that change.
func writeRules(tx *nft.Tx, old, new map[string][]string) {
	for _, n := range slices.Sorted(maps.Keys(old)) {
		if rules, ok := new[n]; !ok || !slices.Equal(rules, old[n]) {
			tx.FlushChain(n)
		}
	}
	for _, n := range slices.Sorted(maps.Keys(new)) {
		if rules, ok := old[n]; ok && slices.Equal(rules, new[n]) {
			continue
		}
		for _, rule := range new[n] {
			tx.AddRule(n, rule)
		}
	}
}

// diff collects changes of shared elements.
type diff struct {
	r        *ruleset
	add, del map[string][]nft.Element
	freed    []element
}

// release gives up elements that the new fragment does not want, or wants with
// another value.
func (d *diff) release(owner string, old, new *fragment) {
	for e, value := range old.elements {
		want, still := new.elements[e]
		if d.r.owners[e] != owner {
			if !still {
				d.r.unwait(e, owner)
			}
			continue
		}
		if still && want == value {
			continue
		}
		d.del[e.set] = append(d.del[e.set], nft.Element{Key: e.key, Value: value})
		if !still {
			delete(d.r.owners, e)
			d.freed = append(d.freed, e)
		}
	}
}

// claim takes elements that have no owner, or whose value changes.
func (d *diff) claim(owner string, old, new *fragment) {
	for e, value := range new.elements {
		has, taken := d.r.owners[e]
		had, before := old.elements[e]
		switch {
		case taken && has != owner:
			d.r.wait(e, owner)
			continue
		case taken && before && had == value:
			continue
		}
		d.r.owners[e] = owner
		d.r.unwait(e, owner)
		d.add[e.set] = append(d.add[e.set], nft.Element{Key: e.key, Value: value})
	}
}

// promote gives freed elements to the first who waits.
func (d *diff) promote() {
	for _, e := range d.freed {
		if _, taken := d.r.owners[e]; taken || len(d.r.waiting[e]) == 0 {
			continue
		}
		owner := d.r.waiting[e][0]
		d.r.unwait(e, owner)
		d.r.owners[e] = owner
		d.add[e.set] = append(d.add[e.set], nft.Element{Key: e.key, Value: d.r.frags[owner].elements[e]})
	}
}

func (r *ruleset) wait(e element, owner string) {
	if !slices.Contains(r.waiting[e], owner) {
		r.waiting[e] = append(r.waiting[e], owner)
	}
}

func (r *ruleset) unwait(e element, owner string) {
	r.waiting[e] = slices.DeleteFunc(r.waiting[e], func(o string) bool { return o == owner })
	if len(r.waiting[e]) == 0 {
		delete(r.waiting, e)
	}
}

// added lists the keys of b that a has not, sorted.
func added[V any](a, b map[string]V) []string {
	var out []string
	for k := range b {
		if _, ok := a[k]; !ok {
			out = append(out, k)
		}
	}
	slices.Sort(out)
	return out
}

func sortElements(es []nft.Element) {
	slices.SortFunc(es, func(a, b nft.Element) int {
		if a.Key < b.Key {
			return -1
		}
		return 1
	})
}
