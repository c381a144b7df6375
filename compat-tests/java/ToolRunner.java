// Runs Apache Kafka's command line tools one after the other in one virtual machine, since starting one costs more than most
// tools do. A tool's `main` is called as the shell would; `Exit` ends the call in place of the process.
//
// Standard input: for each run four-byte counts and lengths (big endian): how many words, then each word's length and bytes
// (the class first), then the length and bytes of the tool's standard input. Standard output: exit status, length and bytes
// of what the tool wrote to its standard output, the same of its standard error.

import java.io.*;
import java.lang.reflect.InvocationTargetException;
import java.nio.charset.StandardCharsets;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import org.apache.kafka.common.utils.Exit;

public class ToolRunner {
    /** Thrown through the tool where it would end the process. */
    static final class Ended extends Error {
    }

    /** The first status that the tool asked for: some catch what ends them, and ask again. */
    static Integer status;

    /** What the tool wants done when the process ends: the console producer sends its last records then. */
    static final List<Runnable> hooks = new ArrayList<>();

    public static void main(String[] arguments) throws IOException {
        Exit.Procedure procedure = (code, message) -> {
            if (status == null) {
                status = code;
            }
            throw new Ended();
        };
        Exit.setExitProcedure(procedure);
        Exit.setHaltProcedure(procedure);
        Exit.setShutdownHookAdder((name, hook) -> hooks.add(hook));
        DataInputStream requests = new DataInputStream(new BufferedInputStream(System.in));
        DataOutputStream replies = new DataOutputStream(new BufferedOutputStream(System.out));
        PrintStream errors = System.err;
        for (;;) {
            String[] words;
            try {
                words = new String[requests.readInt()];
            } catch (EOFException e) {
                return;
            }
            for (int i = 0; i < words.length; i++) {
                words[i] = new String(read(requests), StandardCharsets.UTF_8);
            }
            System.setIn(new ByteArrayInputStream(read(requests)));
            ByteArrayOutputStream out = new ByteArrayOutputStream();
            ByteArrayOutputStream err = new ByteArrayOutputStream();
            System.setOut(new PrintStream(out, true, StandardCharsets.UTF_8));
            System.setErr(new PrintStream(err, true, StandardCharsets.UTF_8));
            int code = run(words);
            System.out.flush();
            System.err.flush();
            System.setErr(errors);
            replies.writeInt(code);
            write(replies, out.toByteArray());
            write(replies, err.toByteArray());
            replies.flush();
        }
    }

    static int run(String[] words) {
        status = null;
        hooks.clear();
        int code = call(words);
        hooks.forEach(Runnable::run);
        return code;
    }

    static int call(String[] words) {
        try {
            String[] arguments = Arrays.copyOfRange(words, 1, words.length);
            Class.forName(words[0]).getMethod("main", String[].class).invoke(null, (Object) arguments);
        } catch (InvocationTargetException e) {
            if (!(e.getCause() instanceof Ended)) {
                e.getCause().printStackTrace();
                return 1;
            }
        } catch (ReflectiveOperationException e) {
            e.printStackTrace();
            return 1;
        }
        return status == null ? 0 : status;
    }

    static byte[] read(DataInputStream requests) throws IOException {
        return requests.readNBytes(requests.readInt());
    }

    static void write(DataOutputStream replies, byte[] bytes) throws IOException {
        replies.writeInt(bytes.length);
        replies.write(bytes);
    }
}
