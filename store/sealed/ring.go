package sealed

import (
	"bytes"
	"context"
	"crypto/aes"
	"crypto/cipher"
	"crypto/hkdf"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"skiff.dev/skiff/store"
)

// A value sealed by a Ring is
//
//	skiff:enc:v1: | id | : | salt (16) | nonce (12) | AES-256-GCM of the value
//
// by a key made for this value alone, HKDF-SHA-256 of the ring's key with the salt;
// the store's key is authenticated with it. So a ring's key may seal any number of
// values, where one key of AES-GCM with random nonces wears out at 2^32.
const (
	ringPrefix = "skiff:enc:"
	ringV1     = ringPrefix + "v1:"
	saltSize   = 16
	nonceSize  = 12
	secretSize = 32
)

// FenceKey holds the id of the key that seals, for all processes that share a store.
const FenceKey = "/skiff/sealing"

// Key is one of a ring.
type Key struct {
	ID     string    `json:"id"`
	Secret []byte    `json:"secret"`
	Made   time.Time `json:"made"`
}

// KeyFile is where a ring's keys are kept. Write is atomic and durable.
type KeyFile interface {
	Name() string
	Read() ([]byte, error) // nil if there is none
	Write([]byte) error
}

// keyDocument is the content of a KeyFile. The newest key is the first.
type keyDocument struct {
	Version int   `json:"version"`
	Keys    []Key `json:"keys"`
}

// Ring seals by the first of its keys, or by the one that the fence names, and opens
// by all of them. It is a Cipher and a Fence.
type Ring struct {
	file KeyFile
	now  func() time.Time

	mu    sync.Mutex // for changes
	state atomic.Pointer[ringState]
}

type ringState struct {
	keys    []Key
	sealing string // id of the key that seals
	fence   int64  // modify revision of the record at FenceKey; 0: there is none
}

func (st *ringState) find(id string) *Key {
	for i := range st.keys {
		if st.keys[i].ID == id {
			return &st.keys[i]
		}
	}
	return nil
}

// KeyError says that a value needs a key that is not there.
type KeyError struct{ ID, File string }

func (e *KeyError) Error() string {
	return fmt.Sprintf("sealed with key %s, which is not in %s: restore that file as it was when the value was written, from a backup or from another server of the cluster", e.ID, e.File)
}

// OpenRing reads the keys, or makes the first one. now is time.Now if nil.
func OpenRing(file KeyFile, now func() time.Time) (*Ring, error) {
	if now == nil {
		now = time.Now
	}
	r := &Ring{file: file, now: now}
	keys, err := r.read()
	if err != nil {
		return nil, err
	}
	if len(keys) == 0 {
		key, err := r.newKey()
		if err != nil {
			return nil, err
		}
		keys = []Key{key}
		if err := r.write(keys); err != nil {
			return nil, err
		}
	}
	r.state.Store(&ringState{keys: keys, sealing: keys[0].ID})
	return r, nil
}

func (r *Ring) newKey() (Key, error) {
	k := Key{Secret: make([]byte, secretSize), Made: r.now().UTC().Truncate(time.Second)}
	id := make([]byte, 4)
	for _, b := range [][]byte{k.Secret, id} {
		if _, err := rand.Read(b); err != nil {
			return k, fmt.Errorf("sealed: make a key: %w", err)
		}
	}
	k.ID = "k" + hex.EncodeToString(id)
	return k, nil
}

func (r *Ring) read() ([]Key, error) {
	raw, err := r.file.Read()
	if err != nil || raw == nil {
		return nil, err
	}
	keys, err := parseKeys(raw)
	if err != nil {
		return nil, fmt.Errorf("sealed: the keys of the cluster's secrets in %s cannot be read: %w", r.file.Name(), err)
	}
	return keys, nil
}

func parseKeys(raw []byte) ([]Key, error) {
	var doc keyDocument
	dec := json.NewDecoder(bytes.NewReader(raw))
	dec.DisallowUnknownFields()
	if err := dec.Decode(&doc); err != nil {
		return nil, err
	}
	if doc.Version != 1 {
		return nil, fmt.Errorf("version %d is not known", doc.Version)
	}
	if len(doc.Keys) == 0 {
		return nil, errors.New("there is no key in it")
	}
	seen := map[string]bool{}
	for i, k := range doc.Keys {
		switch {
		case k.ID == "" || bytes.ContainsAny([]byte(k.ID), ":\x00") || len(k.ID) > 64:
			return nil, fmt.Errorf("key %d has the id %q", i, k.ID)
		case seen[k.ID]:
			return nil, fmt.Errorf("key %s is there twice", k.ID)
		case len(k.Secret) != secretSize:
			return nil, fmt.Errorf("key %s has %d bytes, not %d", k.ID, len(k.Secret), secretSize)
		}
		seen[k.ID] = true
	}
	return doc.Keys, nil
}

func (r *Ring) write(keys []Key) error {
	raw, err := json.MarshalIndent(keyDocument{Version: 1, Keys: keys}, "", "  ")
	if err != nil {
		return err
	}
	return r.file.Write(append(raw, '\n'))
}

// Sealing is the id of the key that seals now.
func (r *Ring) Sealing() string { return r.state.Load().sealing }

// IDs are those of all keys, the newest first.
func (r *Ring) IDs() []string {
	var out []string
	for _, k := range r.state.Load().keys {
		out = append(out, k.ID)
	}
	return out
}

// aead is the cipher of one value.
func (k *Key) aead(salt []byte) (cipher.AEAD, error) {
	own, err := hkdf.Expand(sha256.New, k.Secret, "skiff value\x00"+string(salt), 32)
	if err != nil {
		return nil, err
	}
	block, err := aes.NewCipher(own)
	if err != nil {
		return nil, err
	}
	return cipher.NewGCM(block)
}

// Seal implements Cipher.
func (r *Ring) Seal(key string, plain []byte) ([]byte, error) {
	st := r.state.Load()
	k := st.find(st.sealing)
	if k == nil {
		return nil, fmt.Errorf("sealed: %s cannot be written: %w", key, &KeyError{st.sealing, r.file.Name()})
	}
	head := len(ringV1) + len(k.ID) + 1
	out := make([]byte, head+saltSize+nonceSize, head+saltSize+nonceSize+len(plain)+16)
	copy(out, ringV1)
	copy(out[len(ringV1):], k.ID)
	out[head-1] = ':'
	if _, err := rand.Read(out[head:]); err != nil {
		return nil, fmt.Errorf("sealed: %w", err)
	}
	a, err := k.aead(out[head : head+saltSize])
	if err != nil {
		return nil, err
	}
	return a.Seal(out, out[head+saltSize:], plain, []byte(key)), nil
}

// Open implements Cipher. What is not sealed is given back as it is.
func (r *Ring) Open(key string, stored []byte) ([]byte, bool, error) {
	if !isSealed(stored) {
		return stored, true, nil
	}
	id, body, err := splitRing(stored)
	if err != nil {
		return nil, false, err
	}
	st := r.state.Load()
	k := st.find(id)
	if k == nil {
		if st, err = r.reread(); err != nil {
			return nil, false, err
		}
		if k = st.find(id); k == nil {
			return nil, false, &KeyError{id, r.file.Name()}
		}
	}
	a, err := k.aead(body[:saltSize])
	if err != nil {
		return nil, false, err
	}
	plain, err := a.Open(nil, body[saltSize:saltSize+nonceSize], body[saltSize+nonceSize:], []byte(key))
	if err != nil {
		return nil, false, fmt.Errorf("the value was changed, or is not this record's, or key %s is another than it was sealed with", id)
	}
	return plain, id != st.sealing, nil
}

// Sealed tells whether a Ring has made stored.
func (r *Ring) Sealed(stored []byte) bool { return bytes.HasPrefix(stored, []byte(ringPrefix)) }

func isSealed(stored []byte) bool {
	return bytes.HasPrefix(stored, []byte(ringPrefix)) || bytes.HasPrefix(stored, []byte(providerPrefix))
}

// splitRing takes a sealed value apart.
func splitRing(stored []byte) (id string, body []byte, err error) {
	if bytes.HasPrefix(stored, []byte(providerPrefix)) {
		name, _, _ := bytes.Cut(stored[len(providerPrefix):], []byte(":v1:"))
		return "", nil, fmt.Errorf("sealed by the provider %.20q of an encryption configuration: start with --encryption-provider-config and that file", name)
	}
	rest, ok := bytes.CutPrefix(stored, []byte(ringV1))
	if !ok {
		return "", nil, errors.New("sealed in a form that this version does not know: start the version that wrote it, or a newer one")
	}
	name, body, ok := bytes.Cut(rest, []byte(":"))
	if !ok || len(body) < saltSize+nonceSize+16 {
		return "", nil, errors.New("the sealed value is cut off")
	}
	return string(name), body, nil
}

// reread takes in keys that another process has put into the file.
func (r *Ring) reread() (*ringState, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	keys, err := r.read()
	if err != nil {
		return nil, err
	}
	st := *r.state.Load()
	for _, k := range keys {
		if st.find(k.ID) == nil {
			st.keys = append(slices.Clone(st.keys), k)
		}
	}
	r.state.Store(&st)
	return &st, nil
}

// Guard implements Fence.
func (r *Ring) Guard() store.Guard {
	return store.Guard{Key: FenceKey, ModRevision: r.state.Load().fence}
}

// Lost implements Fence: it learns by which key is sealed now.
func (r *Ring) Lost(ctx context.Context, inner store.Store) error {
	res, err := inner.Range(ctx, store.Range{Start: FenceKey})
	if err != nil {
		return err
	}
	if len(res.KVs) == 0 {
		r.mu.Lock()
		defer r.mu.Unlock()
		st := *r.state.Load()
		st.fence = 0
		r.state.Store(&st)
		return nil
	}
	id := string(res.KVs[0].Value)
	if r.state.Load().find(id) == nil {
		if _, err := r.reread(); err != nil {
			return err
		}
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	st := *r.state.Load()
	if st.find(id) == nil {
		return fmt.Errorf("sealed: the cluster's secrets are %w", &KeyError{id, r.file.Name()})
	}
	st.sealing, st.fence = id, res.KVs[0].ModRevision
	r.state.Store(&st)
	return nil
}

// Establish says in the store by which key is sealed, or learns it. A ring without
// that key gives a *KeyError.
func (r *Ring) Establish(ctx context.Context, inner store.Store) error {
	if err := r.Lost(ctx, inner); err != nil {
		return err
	}
	st := r.state.Load()
	if st.fence != 0 {
		return nil
	}
	return r.declare(ctx, inner, st.sealing)
}

// declare makes a key the one that seals, for all processes. Who loses a race
// against another one learns what that has declared.
func (r *Ring) declare(ctx context.Context, inner store.Store, id string) error {
	_, err := inner.Commit(ctx, store.Txn{Guards: []store.Guard{r.Guard()}, Ops: []store.Op{{Key: FenceKey, Value: []byte(id)}}})
	var conflict *store.ConflictError
	if err != nil && !errors.As(err, &conflict) {
		return err
	}
	return r.Lost(ctx, inner)
}
