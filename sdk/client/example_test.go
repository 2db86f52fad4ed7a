// SPDX-License-Identifier: Apache-2.0

package client_test

import (
	"bufio"
	"context"
	"fmt"
	"log"
	"os"
	"time"

	"github.com/penstock-io/penstock/sdk/client"
	"github.com/penstock-io/penstock/spec/event"
)

// An application without numbers of its own: nothing is lost, and after a cut events may come twice.
func ExampleClient_Send() {
	ctx := context.Background()
	c, err := client.Open(ctx, client.Config{
		Addresses: []string{"tls://collector-a:7421", "tls://collector-b:7421"},
		Cert:      "/etc/app/app.pem", Key: "/etc/app/app.key", CA: "/etc/app/ca.pem",
	})
	if err != nil {
		log.Fatal(err)
	}
	defer c.Close()
	ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	err = c.Send(ctx, client.Batch{Events: []event.Event{{
		Time: time.Now().UnixNano(), Body: []byte("an order"), Attributes: []event.Attribute{{Key: "shop", Value: []byte("vienna")}},
	}}})
	if err != nil {
		log.Fatal(err) // it may or may not have arrived
	}
}

// Records that are numbered, here the lines of a file: each arrives once, whatever is cut or killed, this program too.
func ExampleClient_Queue() {
	ctx := context.Background()
	c, err := client.Open(ctx, client.Config{Addresses: []string{"unix:///run/penstock/hop"}, Stream: "orders-2026"})
	if err != nil {
		log.Fatal(err)
	}
	defer c.Close()
	f, err := os.Open("orders.txt")
	if err != nil {
		log.Fatal(err)
	}
	defer f.Close()
	lines := bufio.NewScanner(f)
	for n := event.Offset(0); lines.Scan(); n++ {
		if n < c.Have().Offset {
			continue // it is there
		}
		_, err := c.Queue(ctx, client.Batch{Events: []event.Event{{Time: time.Now().UnixNano(), Body: lines.Bytes()}}, First: n, Next: n + 1})
		if err != nil {
			log.Fatal(err)
		}
	}
	if err := lines.Err(); err != nil { // such as a line that is too long for a Scanner
		log.Fatal(err)
	}
	if err := c.Flush(ctx); err != nil {
		log.Fatal(err)
	}
	fmt.Println("all are on the disk of the agent")
}

// A program that must not wait: it hears that the queue is full, and does something about it.
func ExampleClient_TryQueue() {
	c, err := client.Open(context.Background(), client.Config{Addresses: []string{"tcp://127.0.0.1:7421"}, Memory: 64 << 20})
	if err != nil {
		log.Fatal(err)
	}
	defer c.Close()
	if _, err := c.TryQueue(client.Batch{Events: []event.Event{{Body: []byte("a measurement")}}}); err != nil {
		log.Printf("left out: %v; the last attempt to connect: %v", err, c.Stats().Err)
	}
}
