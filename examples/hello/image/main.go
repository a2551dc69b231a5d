// Command hello serves one page that says which pod answered and what its
// ConfigMap told it.
package main

import (
	"fmt"
	"log"
	"net/http"
	"os"
)

func main() {
	greeting, err := os.ReadFile("/etc/hello/greeting")
	if err != nil {
		log.Fatal(err)
	}
	host, err := os.Hostname()
	if err != nil {
		log.Fatal(err)
	}
	http.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) {
		fmt.Fprintf(w, "%s\nI am %s on %s.\n", greeting, host, os.Getenv("NODE_NAME"))
	})
	http.HandleFunc("/healthz", func(w http.ResponseWriter, r *http.Request) { fmt.Fprintln(w, "ok") })
	log.Print("listening on :8080")
	log.Fatal(http.ListenAndServe(":8080", nil))
}
