package apiserver

import (
	"encoding/base64"
	"encoding/json"
	"errors"
	"path"
	"strconv"
	"strings"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metainternal "k8s.io/apimachinery/pkg/apis/meta/internalversion"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"skiff.dev/skiff/apiserver/cache"
	"skiff.dev/skiff/store"
)

// token is the opaque place where a list goes on.
type token struct {
	Revision int64 // -1: the newest (an inconsistent continuation)
	After    string
}

const tokenVersion = "meta.k8s.io/v1"

// continueToken is a token as clients carry it; its name is in the errors of those
// that are none.
type continueToken struct {
	APIVersion      string `json:"v"`
	ResourceVersion int64  `json:"rv"`
	StartKey        string `json:"start"`
}

func (t token) String() string {
	b, err := json.Marshal(continueToken{tokenVersion, t.Revision, t.After})
	if err != nil { // a struct of strings and numbers
		return ""
	}
	return base64.RawURLEncoding.EncodeToString(b)
}

var errToken = errors.New("continue key is not valid: incorrect encoded start resourceVersion (version meta.k8s.io/v1)")

// parseToken reads a continue token (storage, DecodeContinue).
func parseToken(s string) (token, error) {
	bad := func(why string) (token, error) {
		return token{}, apierrors.NewBadRequest("invalid continue token: continue key is not valid: " + why)
	}
	b, err := base64.RawURLEncoding.DecodeString(s)
	if err != nil {
		return bad(err.Error())
	}
	var f continueToken
	if err := json.Unmarshal(b, &f); err != nil {
		return bad(err.Error())
	}
	switch {
	case f.APIVersion != tokenVersion:
		return bad("server does not recognize this encoded version " + f.APIVersion)
	case f.ResourceVersion == 0 || f.ResourceVersion < -1:
		return token{}, apierrors.NewBadRequest("invalid continue token: " + errToken.Error())
	case f.StartKey == "":
		return bad("encoded start key empty (version meta.k8s.io/v1)")
	}
	if key := "/" + strings.TrimPrefix(f.StartKey, "/"); path.Clean(key) != key {
		return bad(f.StartKey)
	}
	return token{f.ResourceVersion, strings.TrimPrefix(f.StartKey, "/")}, nil
}

// view is the state that a list shows.
type view struct {
	snap     cache.Snapshot
	revision int64
	after    string
}

// state finds the state that the options ask for.
func (c *call) state(kc *cache.Kind, o *metainternal.ListOptions) (*view, error) {
	if o.Continue != "" {
		t, err := parseToken(o.Continue)
		if err != nil {
			return nil, err
		}
		if o.ResourceVersion != "" && o.ResourceVersion != "0" { // (storage, ValidateListOptions)
			return nil, apierrors.NewBadRequest("specifying resource version is not allowed when using continue")
		}
		if t.Revision < 0 {
			return c.newest(kc, t.After)
		}
		if c.s.cache.Shared() { // another server may have given the token
			if err := c.notOlder(c.ctx(), strconv.FormatInt(t.Revision, 10)); err != nil {
				return nil, err
			}
		}
		snap, err := kc.SnapshotAt(c.ctx(), t.Revision)
		switch {
		case errors.Is(err, store.ErrCompacted):
			return nil, goneToken(t)
		case err != nil:
			return nil, err
		}
		return &view{snap: snap, revision: t.Revision, after: t.After}, nil
	}
	rev, err := parseRevision(o.ResourceVersion)
	if err != nil {
		return nil, apierrors.NewBadRequest("invalid resource version: " + err.Error())
	}
	switch {
	case o.ResourceVersion == "":
		return c.newest(kc, "")
	case rev == 0:
		s := kc.Snapshot()
		return &view{snap: s, revision: s.Revision}, nil
	}
	if err := c.s.exists(c.ctx(), rev); err != nil {
		return nil, err
	}
	if o.ResourceVersionMatch == metav1.ResourceVersionMatchExact || o.ResourceVersionMatch == "" && o.Limit > 0 {
		if err := c.s.cache.WaitFor(c.ctx(), rev); err != nil {
			return nil, err
		}
		snap, err := kc.SnapshotAt(c.ctx(), rev)
		if errors.Is(err, store.ErrCompacted) {
			return nil, apierrors.NewResourceExpired("The resourceVersion for the provided list is too old.")
		}
		return &view{snap: snap, revision: rev}, err
	}
	if err := c.s.cache.WaitFor(c.ctx(), rev); err != nil {
		return nil, err
	}
	s := kc.Snapshot()
	return &view{snap: s, revision: s.Revision}, nil
}

func (c *call) newest(kc *cache.Kind, after string) (*view, error) {
	if err := c.s.cache.Fresh(c.ctx()); err != nil {
		return nil, err
	}
	s := kc.Snapshot()
	return &view{snap: s, revision: s.Revision, after: after}, nil
}

// goneToken is the answer to a token whose revision is compacted; it offers to go
// on inconsistently (storage/etcd3, handleCompactedErrorForPaging).
func goneToken(t token) error {
	err := apierrors.NewResourceExpired("The provided continue parameter is too old to display a consistent list result. " +
		"You can start a new list without the continue parameter, or use the continue token in this response to retrieve the remainder of the results. " +
		"Continuing with the provided token results in an inconsistent list - objects that were created, modified, or deleted between the time the first chunk was returned and now may show up in the list.")
	err.ErrStatus.Continue = token{Revision: -1, After: t.After}.String()
	return err
}
