package sealed

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"k8s.io/apiserver/pkg/storage/value"
	aestransformer "k8s.io/apiserver/pkg/storage/value/encrypt/aes"
	"k8s.io/apiserver/pkg/storage/value/encrypt/secretbox"

	"crypto/aes"

	"skiff.dev/skiff/store"
	"skiff.dev/skiff/store/disk"
	"skiff.dev/skiff/store/mem"
	"skiff.dev/skiff/store/storetest"
)

// memFile is a KeyFile in memory.
type memFile struct {
	mu  sync.Mutex
	raw []byte
}

func (f *memFile) Name() string { return "secrets.json" }
func (f *memFile) Read() ([]byte, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.raw, nil
}
func (f *memFile) Write(b []byte) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.raw = b
	return nil
}

func ring(t testing.TB, f KeyFile) *Ring {
	t.Helper()
	r, err := OpenRing(f, nil)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

const secrets = "/registry/core/secrets/"

func onlySecrets(c Cipher) Policy {
	return func(key string) Cipher {
		if strings.HasPrefix(key, secrets) {
			return c
		}
		return nil
	}
}

func chain(t testing.TB, providers ...string) *Chain {
	t.Helper()
	c := &Chain{}
	for _, p := range providers {
		if p == "" {
			c.Providers = append(c.Providers, Identity())
			continue
		}
		kind, name, _ := strings.Cut(p, "/")
		provider, err := NewProvider(kind, name, bytes.Repeat([]byte(name[:1]), 32))
		if err != nil {
			t.Fatal(err)
		}
		c.Providers = append(c.Providers, provider)
	}
	return c
}

func TestStore(t *testing.T) {
	r := ring(t, &memFile{})
	for name, c := range map[string]struct {
		cipher Cipher
		fence  Fence
	}{
		"ring": {r, r}, "aescbc": {chain(t, "aescbc/a"), nil}, "aesgcm": {chain(t, "aesgcm/a"), nil}, "secretbox": {chain(t, "secretbox/a"), nil},
	} {
		t.Run(name, func(t *testing.T) {
			storetest.Run(t, func(*testing.T) func() store.Store {
				s := mem.New()
				return func() store.Store {
					s = s.Reopen()
					return Wrap(s, func(string) Cipher { return c.cipher }, c.fence)
				}
			})
		})
	}
}

func put(key, value string) store.Op { return store.Op{Key: key, Value: []byte(value)} }

func mustCommit(t testing.TB, s store.Store, ops ...store.Op) int64 {
	t.Helper()
	rev, err := s.Commit(context.Background(), store.Txn{Ops: ops})
	if err != nil {
		t.Fatal(err)
	}
	return rev
}

func get(t testing.TB, s store.Store, key string) string {
	t.Helper()
	res, err := s.Range(context.Background(), store.Range{Start: key})
	if err != nil || len(res.KVs) != 1 {
		t.Fatalf("%s: %d records, %v", key, len(res.KVs), err)
	}
	return string(res.KVs[0].Value)
}

// TestNothingReadableOnDisk: no file of the store holds a word of a secret, written
// new or over a plain one, while other kinds and old plain values are read as before.
func TestNothingReadableOnDisk(t *testing.T) {
	dir := t.TempDir()
	inner, err := disk.Open(dir, disk.Options{})
	if err != nil {
		t.Fatal(err)
	}
	mustCommit(t, inner, put(secrets+"d/old", "plain since long ago"))
	r := ring(t, &memFile{})
	s := Wrap(inner, onlySecrets(r), r)
	for i := range 50 {
		mustCommit(t, s, put(fmt.Sprintf("%sd/s%d", secrets, i), fmt.Sprintf("word%d: correct horse battery staple", i)),
			put(fmt.Sprintf("/registry/core/pods/d/p%d", i), "a pod in the open"))
	}
	if got := get(t, s, secrets+"d/old"); got != "plain since long ago" {
		t.Errorf("an old plain value: %q", got)
	}
	if got := get(t, s, secrets+"d/s7"); got != "word7: correct horse battery staple" {
		t.Errorf("a sealed value: %q", got)
	}
	s.Close()
	found := map[string]bool{}
	err = filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		raw, err := os.ReadFile(path)
		for _, word := range []string{"battery staple", "a pod in the open", "plain since long ago"} {
			found[word] = found[word] || bytes.Contains(raw, []byte(word))
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	if found["battery staple"] {
		t.Error("a secret's text is on the disk")
	}
	if !found["a pod in the open"] || !found["plain since long ago"] {
		t.Error("the search does not find what is not sealed")
	}
}

func TestWhatCannotBeOpened(t *testing.T) {
	ctx := context.Background()
	inner := mem.New()
	file := &memFile{}
	r := ring(t, file)
	s := Wrap(inner, onlySecrets(r), r)
	mustCommit(t, s, put(secrets+"d/a", "secret a"), put(secrets+"d/b", "secret b"))
	raw := func(key string) []byte { return []byte(get(t, inner, key)) }
	a, b := raw(secrets+"d/a"), raw(secrets+"d/b")
	changed := bytes.Clone(a)
	changed[len(changed)-3] ^= 1
	for name, c := range map[string]struct {
		stored []byte
		want   string
	}{
		"a changed byte":   {changed, "the value was changed"},
		"another's value":  {b, "is not this record's"},
		"cut off":          {a[:len(a)-20], "cut off"},
		"of a later form":  {[]byte("skiff:enc:v9:abc"), "does not know"},
		"of the providers": {[]byte("k8s:enc:aescbc:v1:key1:xxxx"), "--encryption-provider-config"},
	} {
		mustCommit(t, inner, store.Op{Key: secrets + "d/a", Value: c.stored})
		_, err := s.Range(ctx, store.Range{Start: secrets, End: store.PrefixEnd(secrets)})
		var corrupt *store.CorruptError
		if !errors.As(err, &corrupt) || corrupt.Where != secrets+"d/a" || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v", name, err)
		}
	}
	// The record that is whole is read all the same.
	if got := get(t, s, secrets+"d/b"); got != "secret b" {
		t.Errorf("%q", got)
	}
	// Another key: named, with what to do.
	other := Wrap(inner, onlySecrets(ring(t, &memFile{})), nil)
	_, err := other.Range(ctx, store.Range{Start: secrets + "d/b"})
	var missing *KeyError
	if !errors.As(err, &missing) || missing.ID != r.Sealing() || !strings.Contains(err.Error(), secrets+"d/b") || !strings.Contains(err.Error(), "restore that file") {
		t.Errorf("with another key: %v", err)
	}
	// The start of a server with the wrong file is refused before it reads anything.
	if err := r.Establish(ctx, inner); err != nil {
		t.Fatal(err)
	}
	if err := ring(t, &memFile{}).Establish(ctx, inner); !errors.As(err, &missing) {
		t.Errorf("another file was accepted: %v", err)
	}
	// An event that cannot be opened ends the watch by name.
	w, err := s.Watch(ctx, store.Watch{Start: secrets, End: store.PrefixEnd(secrets)})
	if err != nil {
		t.Fatal(err)
	}
	defer w.Close()
	mustCommit(t, inner, store.Op{Key: secrets + "d/c", Value: b})
	if _, err := w.Next(ctx); err == nil || !strings.Contains(err.Error(), secrets+"d/c") {
		t.Errorf("watch: %v", err)
	}
}

// TestRotationInterrupted dies after each step; the next process reads everything
// and finishes.
func TestRotationInterrupted(t *testing.T) {
	ctx := context.Background()
	died := errors.New("died")
	for at := range 6 { // 0: not at all
		t.Run(fmt.Sprint("step ", at), func(t *testing.T) {
			inner, file := mem.New(), &memFile{}
			r := ring(t, file)
			if err := r.Establish(ctx, inner); err != nil {
				t.Fatal(err)
			}
			s := Wrap(inner, onlySecrets(r), r)
			for i := range 1100 {
				mustCommit(t, s, put(fmt.Sprintf("%sd/%04d", secrets, i), fmt.Sprint("value ", i)))
			}
			first := r.Sealing()
			before := inner.Revision()
			rotation := func(r *Ring) *Rotation {
				return &Rotation{Ring: r, Inner: inner, Ranges: [][2]string{{secrets, store.PrefixEnd(secrets)}}}
			}
			if pending, err := rotation(r).Pending(ctx); pending || err != nil {
				t.Fatalf("pending before it began: %v %v", pending, err)
			}
			rot := rotation(r)
			rot.step = func(step int) error {
				if step == at {
					return died
				}
				return nil
			}
			_, done, err := rot.Run(ctx)
			if at == 0 && (err != nil || done != 1100) || at > 0 && err != died {
				t.Fatalf("%d values, %v", done, err)
			}
			// The next process.
			inner = inner.Reopen()
			r = ring(t, file)
			if err := r.Establish(ctx, inner); err != nil {
				t.Fatal(err)
			}
			s = Wrap(inner, onlySecrets(r), r)
			check := func() {
				t.Helper()
				res, err := s.Range(ctx, store.Range{Start: secrets, End: store.PrefixEnd(secrets)})
				if err != nil || len(res.KVs) != 1100 || string(res.KVs[33].Value) != "value 33" {
					t.Fatalf("%d secrets, %v", len(res.KVs), err)
				}
			}
			check()
			pending, err := rotation(r).Pending(ctx)
			if err != nil || pending != (at > 0 && at < 5) {
				t.Fatalf("pending %v after step %d: %v", pending, at, err)
			}
			if pending {
				mustCommit(t, s, put(secrets+"d/0007", "value 7")) // writers go on
				if _, err := rotation(r).Finish(ctx); err != nil {
					t.Fatal(err)
				}
			}
			check()
			if ids := r.IDs(); len(ids) != 1 || ids[0] == first {
				t.Errorf("keys %v, the first was %s", ids, first)
			}
			if bytes.Contains(file.raw, []byte(first)) {
				t.Error("the old key is still in the file")
			}
			res, err := inner.Range(ctx, store.Range{Start: secrets, End: store.PrefixEnd(secrets)})
			if err != nil {
				t.Fatal(err)
			}
			for _, kv := range res.KVs {
				if !bytes.HasPrefix(kv.Value, []byte(ringV1+r.Sealing()+":")) {
					t.Fatalf("%s is sealed by another key", kv.Key)
				}
			}
			if _, err := s.Range(ctx, store.Range{Start: secrets + "d/0001", Revision: before}); !errors.Is(err, store.ErrCompacted) {
				t.Errorf("an old value can be asked for: %v", err)
			}
		})
	}
}

// TestRotationWhileWriting: writers and readers of two servers lose nothing while
// one of them rotates, and the one without the new key refuses to write.
func TestRotationWhileWriting(t *testing.T) {
	ctx := context.Background()
	inner, file := mem.New(), &memFile{}
	r := ring(t, file)
	if err := r.Establish(ctx, inner); err != nil {
		t.Fatal(err)
	}
	s := Wrap(inner, onlySecrets(r), r)
	const writers, each = 8, 200
	var wg sync.WaitGroup
	for w := range writers {
		wg.Go(func() {
			for i := range each {
				key := fmt.Sprintf("%sd/%d-%d", secrets, w, i%10)
				if _, err := s.Commit(ctx, store.Txn{Ops: []store.Op{put(key, fmt.Sprint(i))}}); err != nil {
					t.Error(err)
				}
				res, err := s.Range(ctx, store.Range{Start: key})
				if err != nil || string(res.KVs[0].Value) != fmt.Sprint(i) {
					t.Errorf("%s: %v", key, err)
				}
			}
		})
	}
	for range 5 {
		rot := &Rotation{Ring: r, Inner: inner, Ranges: [][2]string{{secrets, store.PrefixEnd(secrets)}}}
		if _, _, err := rot.Run(ctx); err != nil {
			t.Error(err)
		}
	}
	wg.Wait()
	for w := range writers {
		for i := range 10 {
			if got := get(t, s, fmt.Sprintf("%sd/%d-%d", secrets, w, i)); got != fmt.Sprint(each-10+i) {
				t.Errorf("%d-%d: %q", w, i, got)
			}
		}
	}

	theirs := &memFile{raw: file.raw}
	other := ring(t, theirs)
	if err := other.Establish(ctx, inner); err != nil {
		t.Fatal(err)
	}
	b := Wrap(inner, onlySecrets(other), other)
	mustCommit(t, b, put(secrets+"d/b", "by b"))
	rot := &Rotation{Ring: r, Inner: inner, Ranges: [][2]string{{secrets, store.PrefixEnd(secrets)}}}
	if _, _, err := rot.Run(ctx); err != nil {
		t.Fatal(err)
	}
	var missing *KeyError
	if _, err := b.Commit(ctx, store.Txn{Ops: []store.Op{put(secrets+"d/b", "again")}}); !errors.As(err, &missing) {
		t.Fatalf("a server without the key wrote: %v", err)
	}
	if got := get(t, s, secrets+"d/b"); got != "by b" {
		t.Errorf("%q", got)
	}
	if err := theirs.Write(file.raw); err != nil {
		t.Fatal(err)
	}
	mustCommit(t, b, put(secrets+"d/b", "again"))
	if got := get(t, s, secrets+"d/b"); got != "again" {
		t.Errorf("after the file was copied: %q", got)
	}
}

func TestChain(t *testing.T) {
	const key = secrets + "d/a"
	seal := func(c *Chain) []byte {
		out, err := c.Seal(key, []byte("hidden"))
		if err != nil {
			t.Fatal(err)
		}
		return out
	}
	cbcNew, cbcOld := chain(t, "aescbc/new", "aescbc/old"), chain(t, "aescbc/old")
	r := ring(t, &memFile{})
	mine, err := r.Seal(key, []byte("hidden"))
	if err != nil {
		t.Fatal(err)
	}
	withRing := chain(t, "aesgcm/a")
	withRing.Ring = r
	for name, c := range map[string]struct {
		c      *Chain
		stored []byte
		stale  bool
		err    string
	}{
		"first key":         {cbcNew, seal(cbcNew), false, ""},
		"further key":       {cbcNew, seal(cbcOld), true, ""},
		"no such key":       {cbcOld, seal(cbcNew), false, "k8s:enc:aescbc:v1:new"},
		"plain, identity":   {chain(t, "aesgcm/a", ""), []byte("hidden"), true, ""},
		"identity first":    {chain(t, "", "aesgcm/a"), []byte("hidden"), false, ""},
		"plain, none":       {chain(t, "aesgcm/a"), []byte("hidden"), false, "no identity provider"},
		"identity is plain": {chain(t, ""), seal(cbcOld), false, "no such key"},
		"the cluster's own": {withRing, mine, true, ""},
	} {
		plain, stale, err := c.c.Open(key, c.stored)
		switch {
		case c.err != "":
			if err == nil || !strings.Contains(err.Error(), c.err) {
				t.Errorf("%s: %v", name, err)
			}
		case err != nil || string(plain) != "hidden" || stale != c.stale:
			t.Errorf("%s: %q %v %v", name, plain, stale, err)
		}
	}
}

// TestAsKubernetes: what Kubernetes' own code has sealed is opened, and the other
// way round.
func TestAsKubernetes(t *testing.T) {
	const key = secrets + "d/a"
	secret := bytes.Repeat([]byte("k"), 32)
	block, err := aes.NewCipher(secret)
	if err != nil {
		t.Fatal(err)
	}
	gcm, err := aestransformer.NewGCMTransformer(block)
	if err != nil {
		t.Fatal(err)
	}
	for kind, theirs := range map[string]value.Transformer{
		"aescbc": aestransformer.NewCBCTransformer(block), "aesgcm": gcm, "secretbox": secretbox.NewSecretboxTransformer([32]byte(secret)),
	} {
		prefix := "k8s:enc:" + kind + ":v1:kk:"
		theirs = value.NewPrefixTransformers(nil, value.PrefixTransformer{Prefix: []byte(prefix), Transformer: theirs})
		ours := chain(t, kind+"/kk")
		ctx, where := context.Background(), value.DefaultContext(key)
		for _, text := range []string{"", "x", "sixteen bytes!!!", strings.Repeat("long ", 1000)} {
			stored, err := theirs.TransformToStorage(ctx, []byte(text), where)
			if err != nil {
				t.Fatal(err)
			}
			if plain, _, err := ours.Open(key, stored); err != nil || string(plain) != text {
				t.Errorf("%s: theirs: %q %v", kind, plain, err)
			}
			if stored, err = ours.Seal(key, []byte(text)); err != nil {
				t.Fatal(err)
			}
			if plain, _, err := theirs.TransformFromStorage(ctx, stored, where); err != nil || string(plain) != text {
				t.Errorf("%s: ours: %q %v", kind, plain, err)
			}
		}
	}
}

func TestKeyFiles(t *testing.T) {
	good, err := json.Marshal(keyDocument{Version: 1, Keys: []Key{{ID: "k1", Secret: make([]byte, 32)}}})
	if err != nil {
		t.Fatal(err)
	}
	for name, raw := range map[string]string{
		"empty": "{}", "no JSON": "x", "no keys": `{"version":1}`, "later": `{"version":2,"keys":[]}`, "cut": string(good[:20]),
		"twice": `{"version":1,"keys":[{"id":"a","secret":"` + strings.Repeat("A", 43) + `="},{"id":"a","secret":"` + strings.Repeat("A", 43) + `="}]}`,
		"short": `{"version":1,"keys":[{"id":"a","secret":"AAAA"}]}`,
	} {
		if _, err := OpenRing(&memFile{raw: []byte(raw)}, nil); err == nil || !strings.Contains(err.Error(), "secrets.json") {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, err := OpenRing(&memFile{raw: good}, nil); err != nil {
		t.Error(err)
	}
}

func FuzzOpen(f *testing.F) {
	r := ring(f, &memFile{})
	c := chain(f, "aescbc/a", "aesgcm/a", "secretbox/a", "")
	const key = secrets + "d/a"
	for _, x := range []Cipher{r, c, chain(f, "aesgcm/a"), chain(f, "secretbox/a")} {
		sealed, err := x.Seal(key, []byte("hidden"))
		if err != nil {
			f.Fatal(err)
		}
		f.Add(sealed)
		f.Add(sealed[:len(sealed)-5])
	}
	f.Fuzz(func(t *testing.T, stored []byte) {
		for _, x := range []Cipher{r, c} {
			plain, _, err := x.Open(key, stored)
			if err == nil && isSealed(stored) && bytes.Equal(plain, stored) {
				t.Errorf("%q was opened to itself", stored)
			}
		}
	})
}

func FuzzKeys(f *testing.F) {
	f.Add([]byte(`{"version":1,"keys":[{"id":"a","secret":"` + strings.Repeat("A", 43) + `="}]}`))
	f.Fuzz(func(t *testing.T, raw []byte) {
		keys, err := parseKeys(raw)
		if err != nil {
			return
		}
		for _, k := range keys {
			if k.ID == "" || len(k.Secret) != secretSize {
				t.Errorf("accepted %+v", k)
			}
		}
	})
}

func BenchmarkRing(b *testing.B) {
	r := ring(b, &memFile{})
	const key = secrets + "d/a"
	plain := bytes.Repeat([]byte("x"), 1000)
	sealed, err := r.Seal(key, plain)
	if err != nil {
		b.Fatal(err)
	}
	b.Run("seal", func(b *testing.B) {
		for b.Loop() {
			if _, err := r.Seal(key, plain); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("open", func(b *testing.B) {
		for b.Loop() {
			if _, _, err := r.Open(key, sealed); err != nil {
				b.Fatal(err)
			}
		}
	})
}
