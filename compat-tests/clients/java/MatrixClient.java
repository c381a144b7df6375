// Java's own clients in the client matrix: the commands and lines are those of clients/README.md.
//
//   java MatrixClient produce --bootstrap HOST:PORT --topic T --first I --count N
//   java MatrixClient consume --bootstrap HOST:PORT --topic T --group G --name NAME
//                             [--protocol classic|consumer] [--assignor eager|cooperative]

import java.io.IOException;
import java.nio.charset.StandardCharsets;
import java.time.Duration;
import java.util.*;
import java.util.concurrent.Future;
import java.util.stream.Collectors;
import org.apache.kafka.clients.consumer.*;
import org.apache.kafka.clients.producer.*;
import org.apache.kafka.common.TopicPartition;
import org.apache.kafka.common.errors.RebalanceInProgressException;
import org.apache.kafka.common.errors.RetriableException;
import org.apache.kafka.common.errors.WakeupException;
import org.apache.kafka.common.serialization.StringDeserializer;
import org.apache.kafka.common.serialization.StringSerializer;

public class MatrixClient {
    static final int PARTITIONS = 6;

    public static void main(String[] arguments) throws Exception {
        Map<String, String> options = new HashMap<>();
        for (int i = 1; i + 1 < arguments.length; i += 2) {
            options.put(arguments[i].substring(2), arguments[i + 1]);
        }
        switch (arguments[0]) {
            case "produce" -> produce(options);
            case "consume" -> new Member(options).run();
            default -> throw new IllegalArgumentException(arguments[0]);
        }
        System.exit(0);
    }

    static void produce(Map<String, String> options) throws Exception {
        Map<String, Object> config = new HashMap<>();
        config.put("bootstrap.servers", options.get("bootstrap"));
        config.put("acks", "all");
        int first = Integer.parseInt(options.get("first"));
        int count = Integer.parseInt(options.get("count"));
        List<Future<RecordMetadata>> sent = new ArrayList<>();
        try (var producer = new KafkaProducer<>(config, new StringSerializer(), new StringSerializer())) {
            for (int i = first; i < first + count; i++) {
                String text = Integer.toString(i);
                sent.add(producer.send(new ProducerRecord<>(options.get("topic"), i % PARTITIONS, text, text)));
            }
            producer.flush();
            for (Future<RecordMetadata> future : sent) {
                future.get();
            }
        }
        say("produced " + count);
    }

    static void say(String line) {
        System.out.println(line);
        System.out.flush();
    }

    /** One consumer in its group. Everything but {@link #waitForTheEndOfInput} runs on the main thread. */
    static final class Member implements ConsumerRebalanceListener {
        final KafkaConsumer<String, String> consumer;
        final String topic;
        /** What was printed and is not known to be committed: the offset to be read next. */
        final Map<TopicPartition, OffsetAndMetadata> pending = new HashMap<>();
        final Set<Integer> owned = new TreeSet<>();
        volatile boolean stopping;

        Member(Map<String, String> options) {
            topic = options.get("topic");
            Map<String, Object> config = new HashMap<>();
            config.put("bootstrap.servers", options.get("bootstrap"));
            config.put("group.id", options.get("group"));
            config.put("client.id", options.get("name"));
            config.put("auto.offset.reset", "earliest");
            config.put("enable.auto.commit", false);
            config.put("max.poll.records", 200);
            config.put("max.poll.interval.ms", 10_000);
            String protocol = options.getOrDefault("protocol", "classic");
            config.put("group.protocol", protocol);
            if (protocol.equals("classic")) {
                config.put("session.timeout.ms", 6_000);
                config.put("heartbeat.interval.ms", 500);
                boolean eager = options.getOrDefault("assignor", "eager").equals("eager");
                Class<?> assignor = eager ? RangeAssignor.class : CooperativeStickyAssignor.class;
                config.put("partition.assignment.strategy", assignor.getName());
            }
            consumer = new KafkaConsumer<>(config, new StringDeserializer(), new StringDeserializer());
        }

        void run() {
            Thread input = new Thread(this::waitForTheEndOfInput);
            input.setDaemon(true);
            input.start();
            consumer.subscribe(List.of(topic), this);
            while (!stopping) {
                try {
                    for (ConsumerRecord<String, String> record : consumer.poll(Duration.ofMillis(500))) {
                        say("record " + record.partition() + " " + record.offset() + " " + record.value());
                        TopicPartition partition = new TopicPartition(record.topic(), record.partition());
                        pending.put(partition, new OffsetAndMetadata(record.offset() + 1));
                    }
                    commit(pending.keySet());
                } catch (WakeupException e) {
                    // The end of input: the loop's condition sees it.
                }
            }
            commit(pending.keySet());
            consumer.close();
            say("closed");
        }

        void waitForTheEndOfInput() {
            try {
                StringBuilder line = new StringBuilder();
                for (int c = System.in.read(); c >= 0; c = System.in.read()) {
                    line.append((char) c);
                    if (line.toString().equals("stop\n")) {
                        break;
                    }
                }
            } catch (IOException e) {
                System.err.println("standard input: " + e);
            }
            stopping = true;
            consumer.wakeup();
        }

        /** Commits what is pending of these. Not an error: a rebalance that is faster; what it takes away is read again. */
        void commit(Collection<TopicPartition> partitions) {
            Map<TopicPartition, OffsetAndMetadata> offsets = new HashMap<>(pending);
            offsets.keySet().retainAll(Set.copyOf(partitions));
            if (offsets.isEmpty()) {
                return;
            }
            try {
                commitSync(offsets);
            } catch (CommitFailedException | RebalanceInProgressException e) {
                System.err.println("not committed: " + e);
                return;
            } catch (RetriableException e) {
                System.err.println("not committed, comes again with the next: " + e);
                return;
            }
            offsets.forEach((partition, offset) -> say("committed " + partition.partition() + " " + offset.offset()));
            pending.keySet().removeAll(offsets.keySet());
        }

        void commitSync(Map<TopicPartition, OffsetAndMetadata> offsets) {
            try {
                consumer.commitSync(offsets);
            } catch (WakeupException e) {
                // Meant for poll, and comes once.
                consumer.commitSync(offsets);
            }
        }

        @Override
        public void onPartitionsAssigned(Collection<TopicPartition> partitions) {
            partitions.forEach(partition -> owned.add(partition.partition()));
            sayAssigned();
        }

        @Override
        public void onPartitionsRevoked(Collection<TopicPartition> partitions) {
            try {
                commit(partitions);
            } finally {
                onPartitionsLost(partitions);
            }
        }

        @Override
        public void onPartitionsLost(Collection<TopicPartition> partitions) {
            partitions.forEach(partition -> owned.remove(partition.partition()));
            pending.keySet().removeAll(Set.copyOf(partitions));
            sayAssigned();
        }

        void sayAssigned() {
            say("assigned " + owned.stream().map(String::valueOf).collect(Collectors.joining(",")));
        }
    }
}
