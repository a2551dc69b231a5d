// Command standin is what test images hold: a server for each port that it is
// told, which answers with what tests want to know.
//
//	standin serve 80 8082      HTTP on these ports; /env, /file?name=, /exit?code=, /ready, /unready, /sleep?for=
//	standin udp 53             answers each packet with the host's name and the packet
//	standin get URL [CA]       prints a page; exit code 1 if it cannot be had
//	standin api PATH [TOKEN]   prints an answer of the cluster's API, asked as the pod's service account
//	standin ask URL            prints that page, asked as the pod's service account
//	standin grpc 90            gRPC health checks: the service "sick" is not well, all others are
//	standin dial udp A:P TEXT  sends TEXT and prints the answer
//	standin webhook 443 NAME   admission webhooks under a certificate for NAME, which it prints
//	standin metrics 443 NAME   an extension server of metrics.k8s.io under a certificate for NAME, which it prints
//	standin sleep              until it is told to stop
package main

import (
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"os"
	"os/signal"
	"sort"
	"strconv"
	"strings"
	"sync/atomic"
	"syscall"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/health"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"
)

func main() {
	if len(os.Args) < 2 {
		log.Fatal("standin: what shall I do?")
	}
	switch os.Args[1] {
	case "serve":
		serve(os.Args[2:])
	case "udp":
		udp(os.Args[2])
	case "get":
		ca := ""
		if len(os.Args) > 3 {
			ca = os.Args[3]
		}
		get(os.Args[2], "", ca)
	case "api":
		api(os.Args[2:])
	case "ask":
		get(os.Args[2], string(read(account+"token")), account+"ca.crt")
	case "grpc":
		grpcHealth(os.Args[2])
	case "dial":
		dial(os.Args[2], os.Args[3], os.Args[4])
	case "webhook":
		webhook(os.Args[2], os.Args[3])
	case "metrics":
		metrics(os.Args[2], os.Args[3])
	case "sleep":
		c := make(chan os.Signal, 1)
		signal.Notify(c, syscall.SIGTERM, syscall.SIGINT)
		fmt.Println("stopping:", <-c)
	default:
		log.Fatalf("standin: %q is nothing that I can do", os.Args[1])
	}
}

func serve(ports []string) {
	var unready atomic.Bool
	host, _ := os.Hostname()
	http.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) {
		fmt.Fprintf(w, "%s %s from %s\n", host, os.Getenv("STANDIN"), r.RemoteAddr)
	})
	http.HandleFunc("/env", func(w http.ResponseWriter, r *http.Request) {
		env := os.Environ()
		sort.Strings(env)
		fmt.Fprintln(w, strings.Join(env, "\n"))
	})
	http.HandleFunc("/file", func(w http.ResponseWriter, r *http.Request) {
		http.ServeFile(w, r, r.URL.Query().Get("name"))
	})
	http.HandleFunc("/ready", func(w http.ResponseWriter, r *http.Request) {
		if unready.Load() {
			http.Error(w, "not ready", http.StatusServiceUnavailable)
		}
	})
	http.HandleFunc("/unready", func(w http.ResponseWriter, r *http.Request) { unready.Store(true) })
	http.HandleFunc("/exit", func(w http.ResponseWriter, r *http.Request) {
		code, _ := strconv.Atoi(r.URL.Query().Get("code"))
		os.Exit(code)
	})
	errs := make(chan error)
	for _, p := range ports {
		go func() { errs <- http.ListenAndServe(":"+p, nil) }()
	}
	fmt.Println("serving", strings.Join(ports, " "))
	log.Fatal(<-errs)
}

func udp(port string) {
	conn, err := net.ListenPacket("udp", ":"+port)
	if err != nil {
		log.Fatal(err)
	}
	host, _ := os.Hostname()
	buf := make([]byte, 2048)
	for {
		n, from, err := conn.ReadFrom(buf)
		if err != nil {
			log.Fatal(err)
		}
		if _, err := conn.WriteTo(append([]byte(host+" "), buf[:n]...), from); err != nil {
			log.Print(err)
		}
	}
}

func get(url, token, ca string) {
	c := http.Client{Timeout: 3 * time.Second}
	if ca != "" {
		pool := x509.NewCertPool()
		pool.AppendCertsFromPEM(read(ca))
		c.Transport = &http.Transport{TLSClientConfig: &tls.Config{RootCAs: pool}}
	}
	req, err := http.NewRequest(http.MethodGet, url, nil)
	if err != nil {
		log.Fatal(err)
	}
	if token != "" {
		req.Header.Set("Authorization", "Bearer "+token)
	}
	resp, err := c.Do(req)
	if err != nil {
		log.Fatal(err)
	}
	defer resp.Body.Close()
	if _, err := io.Copy(os.Stdout, resp.Body); err != nil {
		log.Fatal(err)
	}
	if resp.StatusCode >= 300 {
		log.Fatal(resp.Status)
	}
}

// api asks as programs in pods do: by what the service account's volume holds.
const account = "/var/run/secrets/kubernetes.io/serviceaccount/"

func api(args []string) {
	token := account + "token"
	if len(args) > 1 {
		token = args[1]
	}
	server := net.JoinHostPort(os.Getenv("KUBERNETES_SERVICE_HOST"), os.Getenv("KUBERNETES_SERVICE_PORT"))
	get("https://"+server+args[0], string(read(token)), account+"ca.crt")
}

func read(path string) []byte {
	data, err := os.ReadFile(path)
	if err != nil {
		log.Fatal(err)
	}
	return data
}

func grpcHealth(port string) {
	l, err := net.Listen("tcp", ":"+port)
	if err != nil {
		log.Fatal(err)
	}
	h := health.NewServer()
	h.SetServingStatus("sick", healthpb.HealthCheckResponse_NOT_SERVING)
	s := grpc.NewServer()
	healthpb.RegisterHealthServer(s, h)
	fmt.Println("serving", port)
	log.Fatal(s.Serve(l))
}

func dial(network, address, text string) {
	conn, err := net.DialTimeout(network, address, 3*time.Second)
	if err != nil {
		log.Fatal(err)
	}
	if err := conn.SetDeadline(time.Now().Add(3 * time.Second)); err != nil {
		log.Fatal(err)
	}
	if _, err := io.WriteString(conn, text); err != nil {
		log.Fatal(err)
	}
	buf := make([]byte, 2048)
	n, err := conn.Read(buf)
	if err != nil {
		log.Fatal(err)
	}
	fmt.Printf("%s\n", buf[:n])
}
