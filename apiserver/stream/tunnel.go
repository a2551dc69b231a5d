package stream

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"
	"sync"

	"github.com/gorilla/websocket"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	constants "k8s.io/apimachinery/pkg/util/portforward"
	"k8s.io/client-go/tools/portforward"
)

// tunnel serves a client that carries SPDY inside a WebSocket: it opens the SPDY
// connection of the node's handler and copies bytes.
func tunnel(w http.ResponseWriter, r *http.Request, h http.Handler, path string, query url.Values) error {
	var inner []string
	for _, p := range websocket.Subprotocols(r) {
		if rest, ok := strings.CutPrefix(p, constants.WebsocketsSPDYTunnelingPrefix); ok && strings.HasSuffix(p, constants.KubernetesSuffix) {
			inner = append(inner, rest)
		}
	}
	if len(inner) == 0 {
		return apierrors.NewBadRequest("unable to upgrade: no tunneling spdy protocols provided")
	}
	conn, buffered, resp, err := openSPDY(r, h, path, query, inner)
	if err != nil {
		return internal(err)
	}
	defer conn.Close()
	if resp.StatusCode != http.StatusSwitchingProtocols {
		return pass(w, resp)
	}
	chosen := resp.Header.Get("X-Stream-Protocol-Version")
	if chosen == "" {
		return apierrors.NewInternalError(fmt.Errorf("unable to upgrade: the node chose no protocol of %v", inner))
	}
	up := websocket.Upgrader{CheckOrigin: func(*http.Request) bool { return true }, Subprotocols: []string{constants.WebsocketsSPDYTunnelingPrefix + chosen}}
	ws, err := up.Upgrade(w, r, nil)
	if err != nil {
		return nil // Upgrade has answered
	}
	copyBoth(portforward.NewTunnelingConnection("server", ws), conn, buffered)
	return nil
}

// openSPDY asks the node's handler for a SPDY connection.
func openSPDY(r *http.Request, h http.Handler, path string, query url.Values, protocols []string) (net.Conn, *bufio.Reader, *http.Response, error) {
	u := &url.URL{Scheme: "http", Host: "node", Path: path, RawQuery: query.Encode()}
	req, err := http.NewRequestWithContext(r.Context(), http.MethodPost, u.String(), nil)
	if err != nil {
		return nil, nil, nil, err
	}
	req.Header.Set("Connection", "Upgrade")
	req.Header.Set("Upgrade", "SPDY/3.1")
	req.Header["X-Stream-Protocol-Version"] = protocols
	conn := dial(h)
	if err := req.Write(conn); err != nil {
		conn.Close()
		return nil, nil, nil, err
	}
	buffered := bufio.NewReader(conn)
	resp, err := http.ReadResponse(buffered, req)
	if err != nil {
		conn.Close()
		return nil, nil, nil, err
	}
	return conn, buffered, resp, nil
}

// pass hands on a node's refusal.
func pass(w http.ResponseWriter, resp *http.Response) error {
	defer resp.Body.Close()
	for k, v := range resp.Header {
		if k != "Connection" && k != "Upgrade" {
			w.Header()[k] = v
		}
	}
	w.WriteHeader(resp.StatusCode)
	_, err := io.Copy(w, io.LimitReader(resp.Body, maxError))
	if err != nil {
		panic(http.ErrAbortHandler) // half an answer is out
	}
	return nil
}

// copyBoth copies in both directions until one ends, then ends the other.
func copyBoth(client net.Conn, node net.Conn, fromNode io.Reader) {
	var both sync.WaitGroup
	both.Go(func() {
		_, _ = io.Copy(client, fromNode) // an end is an end, whatever its reason
		client.Close()
	})
	both.Go(func() {
		_, _ = io.Copy(node, client)
		node.Close()
	})
	both.Wait()
}
