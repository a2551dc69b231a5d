package swarm

import (
	"context"
	"net/http/httptest"
	"strings"
	"testing"

	"skiff.dev/skiff/engine/dockerapi"
	"skiff.dev/skiff/engine/dockerapi/route"
)

// TestRefusals asks for everything as a client does.
func TestRefusals(t *testing.T) {
	s := dockerapi.New(dockerapi.Options{Areas: func(context.Context) ([]dockerapi.Area, error) { return []dockerapi.Area{New()}, nil }})
	none := `{"message":"` + strings.ReplaceAll(route.ErrNoManager.Error(), `"`, `\"`) + `"}`
	for _, c := range []struct {
		method, path, body string
		status             int
		want               string
	}{
		{"GET", "/swarm", "", 503, none},
		{"POST", "/swarm/leave?force=1", "", 503, `{"message":"This node is not part of a swarm"}`},
		{"POST", "/swarm/init", "{}", 400, `{"message":"invalid ListenAddr \"\": invalid empty address"}`},
		{"POST", "/swarm/init", `{"ListenAddr":"nonsense"}`, 400, `{"message":"listen address must be an IP address or network interface (with optional port number)"}`},
		{"POST", "/swarm/init", `{"ListenAddr":"http://x"}`, 400, `{"message":"listen address must be an IP address or network interface (with optional port number)"}`},
		{"POST", "/swarm/init", `{"ListenAddr":"1.2.3.4:a:b"}`, 400, `{"message":"could not parse listen address 1.2.3.4:a:b"}`},
		{"POST", "/swarm/init", `{"ListenAddr":"127.0.0.1","Spec":{"Name":"x"}}`, 400, `{"message":"swarm spec must be named \"default\""}`},
		{"POST", "/swarm/init", `{"ListenAddr":"127.0.0.1"}`, 501, `{"message":"swarm mode is not supported by this engine"}`},
		{"POST", "/swarm/join", `{"ListenAddr":"0.0.0.0:2377"}`, 400, `{"message":"at least 1 RemoteAddr is required to join"}`},
		{"POST", "/swarm/join", `{"ListenAddr":"0.0.0.0:2377","RemoteAddrs":[""]}`, 400, `{"message":"invalid remoteAddr \"\": invalid empty address"}`},
		{"POST", "/swarm/join", `{"ListenAddr":"lo","RemoteAddrs":["10.0.0.1"]}`, 501, `{"message":"swarm mode is not supported by this engine"}`},
		{"POST", "/swarm/update?version=x", "{}", 400, `{"message":"invalid swarm version 'x': strconv.ParseUint: parsing \"x\": invalid syntax"}`},
		{"POST", "/swarm/update?version=1&rotateWorkerToken=x", "{}", 400, `{"message":"invalid value for rotateWorkerToken: x"}`},
		{"POST", "/swarm/update?version=1", "{}", 503, none},
		{"POST", "/swarm/unlock", "{", 400, `{"message":"invalid JSON: unexpected EOF"}`},
		{"GET", "/services?filters=x", "", 400, `{"message":"invalid filter"}`},
		{"GET", "/services?status=x", "", 400, `{"message":"invalid value for status: x: strconv.ParseBool: parsing \"x\": invalid syntax"}`},
		{"GET", "/v1.40/services?status=x", "", 503, none},
		{"GET", "/services/x?insertDefaults=x", "", 400, `{"message":"invalid value for insertDefaults: x: strconv.ParseBool: parsing \"x\": invalid syntax"}`},
		{"GET", "/services/x/logs", "", 400, `{"message":"must specify at least one of 'stdout' or 'stderr'"}`},
		{"GET", "/tasks/x/logs?stderr=1", "", 503, none},
		{"POST", "/services/x/update?version=1", "{}", 503, none},
		{"POST", "/nodes/x/update", "{}", 400, `{"message":"invalid node version '': strconv.ParseUint: parsing \"\": invalid syntax"}`},
		{"POST", "/secrets/create", `{"Name":"x"}`, 503, none},
		{"POST", "/configs/x/update?version=", "{}", 400, `{"message":"invalid config version"}`},
		{"DELETE", "/configs/x", "", 503, none},
		{"GET", "/v1.29/configs", "", 404, `{"message":"page not found"}`},
		{"GET", "/plugins", "", 200, `[]`},
		{"GET", `/plugins?filters={"enabled":["perhaps"]}`, "", 400, `{"message":"invalid filter 'enabled=[perhaps]'"}`},
		{"GET", "/plugins/privileges?remote=a/b", "", 200, `[]`},
		{"GET", "/plugins/privileges?remote=UPPER", "", 400, `{"message":"invalid reference format: repository name (library/UPPER) must be lowercase"}`},
		{"GET", "/plugins/a/b/json", "", 404, `{"message":"plugin \"a/b\" not found"}`},
		{"POST", "/plugins/x/enable", "", 400, `{"message":"strconv.Atoi: parsing \"\": invalid syntax"}`},
		{"POST", "/plugins/x/set", `["A=b"]`, 404, `{"message":"plugin \"x\" not found"}`},
		{"POST", "/plugins/x/upgrade?remote=y", `[]`, 404, `{"message":"plugin \"x\" not found"}`},
		{"POST", "/plugins/pull?remote=x", `[]`, 501, `{"message":"plugins are not supported by this engine"}`},
		{"POST", "/plugins/create?name=x", "", 501, `{"message":"plugins are not supported by this engine"}`},
	} {
		r := httptest.NewRequest(c.method, strings.ReplaceAll(c.path, `"`, "%22"), strings.NewReader(c.body))
		if c.body != "" {
			r.Header.Set("Content-Type", "application/json")
		}
		w := httptest.NewRecorder()
		s.ServeHTTP(w, r)
		if got := strings.TrimSpace(w.Body.String()); w.Code != c.status || got != c.want {
			t.Errorf("%s %s %s: %d %s, not %d %s", c.method, c.path, c.body, w.Code, got, c.status, c.want)
		}
	}
}
