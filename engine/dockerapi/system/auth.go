package system

import (
	"encoding/json"
	"fmt"
	"net/http"

	"github.com/moby/moby/api/types/registry"

	"skiff.dev/skiff/engine/dockerapi/route"
)

// maxAuth bounds a body with credentials.
const maxAuth = 1 << 20

func (a *Area) login(w http.ResponseWriter, r *route.Request) error {
	auth := &registry.AuthConfig{}
	dec := json.NewDecoder(http.MaxBytesReader(w, r.Body, maxAuth))
	// The words are those of the header in which credentials come elsewhere.
	if err := dec.Decode(auth); err != nil {
		return route.Invalid(fmt.Errorf("invalid X-Registry-Auth header: invalid JSON: %w", err))
	}
	if dec.More() {
		return route.Invalidf("invalid X-Registry-Auth header: multiple JSON documents not allowed")
	}
	if a.o.Registries == nil {
		return route.Unavailablef("this engine reaches no registries")
	}
	token, err := a.o.Registries.Login(r.Context(), auth)
	if err != nil {
		return err
	}
	return route.WriteJSON(w, http.StatusOK, &registry.AuthResponse{Status: "Login Succeeded", IdentityToken: token})
}
